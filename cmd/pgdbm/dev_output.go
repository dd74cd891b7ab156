package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/doctor"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/projectfile"
	"github.com/pgdbm/pgdbm/localpg"
	"github.com/pgdbm/pgdbm/migrate"
)

// devOutput tells what dev does, to people or in JSON.
type devOutput struct {
	out, errs io.Writer
	asJSON    bool
	watched   []string // folders that watching has been told of
	empty     []string // modules without files that have been told of
	ailing    bool     // something has failed since watching was told of
	ailed     bool     // before that
}

// withoutWarnings leaves out what is logged of the warnings that migrated tells.
type withoutWarnings struct{ slog.Handler }

func (h withoutWarnings) Handle(ctx context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn && strings.HasPrefix(r.Message, "migration: ") {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h withoutWarnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return withoutWarnings{h.Handler.WithAttrs(attrs)}
}

func (h withoutWarnings) WithGroup(name string) slog.Handler {
	return withoutWarnings{h.Handler.WithGroup(name)}
}

// devEvent is a line of JSON.
type devEvent struct {
	Version  int        `json:"version"`
	Event    string     `json:"event"` // ready, migrated, no_files, anew, failed, watching
	URL      string     `json:"url,omitempty"`
	Database string     `json:"database,omitempty"`
	Server   string     `json:"server,omitempty"`
	Postgres string     `json:"postgres,omitempty"`
	Module   string     `json:"module,omitempty"`
	Schema   string     `json:"schema,omitempty"`
	Applied  []fileJSON `json:"applied,omitempty"`
	Warnings []string   `json:"warnings,omitempty"`
	File     string     `json:"file,omitempty"`
	Line     int        `json:"line,omitempty"`
	Column   int        `json:"column,omitempty"`
	Error    string     `json:"error,omitempty"`
	Folders  []string   `json:"folders,omitempty"`
}

func (o *devOutput) event(e devEvent) {
	e.Version = jsonVersion
	text, err := json.Marshal(e)
	if err != nil {
		panic("pgdbm: bug: " + err.Error()) // it has nothing that could fail
	}
	fmt.Fprintln(o.out, string(text))
}

func (o *devOutput) line(out io.Writer, format string, args ...any) {
	fmt.Fprintf(out, "%s  %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

func (o *devOutput) ready(server *localpg.Server, database, url string) {
	if o.asJSON {
		o.event(devEvent{Event: "ready", URL: url, Database: database, Server: server.ID(), Postgres: server.Version()})
		return
	}
	fmt.Fprintf(o.out, "PostgreSQL %s has database %s, only for you and until this ends, at\n\n  %s\n\n  psql %s\n\n",
		server.Version(), database, url, doctor.Shell(url))
}

// watching is told to people when the folders are others or nothing fails any more,
// and in JSON after each look at all modules.
func (o *devOutput) watching(list []chosen) {
	var folders []string
	for _, c := range list {
		folders = append(folders, c.dir)
	}
	switch {
	case o.asJSON:
		o.event(devEvent{Event: "watching", Folders: folders})
	case !slices.Equal(folders, o.watched) || o.ailed && !o.ailing:
		for _, folder := range folders {
			o.line(o.out, "watching  %s", folder)
		}
	}
	o.watched, o.ailed, o.ailing = folders, o.ailing, false
}

func (o *devOutput) migrated(c *chosen, res *migrate.UpResult) {
	files, warnings := filesJSON(res.Applied), warningTexts(res.Warnings)
	o.empty = slices.DeleteFunc(o.empty, func(name string) bool { return name == c.module.Name })
	if o.asJSON {
		if len(files)+len(warnings) > 0 {
			o.event(devEvent{Event: "migrated", Module: c.module.Name, Schema: c.schema, Applied: files, Warnings: warnings})
		}
		return
	}
	for _, f := range files {
		o.line(o.out, "applied   %s  %.0f ms", filepath.Join(c.dir, f.File), f.MS)
	}
	for _, w := range warnings {
		o.line(o.out, "warning   %s", w)
	}
}

// noFiles tells of a module that has no files yet, until it has had some.
func (o *devOutput) noFiles(c *chosen) {
	if slices.Contains(o.empty, c.module.Name) {
		return
	}
	o.empty = append(o.empty, c.module.Name)
	if o.asJSON {
		o.event(devEvent{Event: "no_files", Module: c.module.Name, Schema: c.schema, Folders: []string{c.dir}})
		return
	}
	o.line(o.out, "no files  yet of module %s in %s", c.module.Name, c.dir)
}

func (o *devOutput) anew(c *chosen, err error) {
	if o.asJSON {
		e := c.failure(err)
		e.Event = "anew"
		o.event(e)
		return
	}
	o.line(o.out, "anew      %s", c.text(err))
}

// failed tells of an error; c is nil for one that is no module's.
func (o *devOutput) failed(c *chosen, err error) {
	o.ailing = true
	if o.asJSON {
		o.event(c.failure(err))
		return
	}
	o.line(o.errs, "failed    %s", c.text(err))
}

func (c *chosen) failure(err error) devEvent {
	e := devEvent{Event: "failed", Error: err.Error()}
	if wrong, ok := errors.AsType[*projectfile.Error](err); ok {
		e.File, e.Line, e.Column, e.Error = wrong.Path, wrong.Line, wrong.Column, wrong.Text
	}
	if c == nil {
		return e
	}
	e.Module, e.Schema = c.module.Name, c.schema
	if failed, ok := errors.AsType[*pgdbm.MigrationError](err); ok && failed.File != "" {
		e.File, e.Line, e.Column, e.Error = filepath.Join(c.dir, failed.File), failed.Line, failed.Column, failed.Err.Error()
	}
	return e
}

// text is an error with its place as editors open it.
func (c *chosen) text(err error) string {
	e := c.failure(err)
	switch {
	case e.File == "":
		return e.Error
	case e.Line == 0:
		return fmt.Sprintf("%s: %s", e.File, e.Error)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Error)
}
