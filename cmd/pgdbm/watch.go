package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// watchPeriod is the time between two looks at the files.
const watchPeriod = 100 * time.Millisecond

// watch looks at pgdbm.toml and the folders of modules, over and over: that works on
// every system and file system, mounted ones included, and the files are few.
type watch struct {
	config  string // pgdbm.toml, which need not be there
	folders []string
	seen    sight // at the last look
}

// sight is what the files were: names, sizes and times.
type sight struct{ config, folders string }

// look remembers what the files are.
func (w *watch) look() { w.seen = w.files() }

// follow goes on with other folders. What the file was stays what it was at the
// last look.
func (w *watch) follow(folders []string) {
	w.folders = folders
	w.seen.folders = w.files().folders
}

// wait returns when the files are other than they were, and have been so for a
// period: somebody may be in the middle of writing them; or when again fires. Its
// error is the context's cause.
func (w *watch) wait(ctx context.Context, again <-chan time.Time) error {
	ticker := time.NewTicker(watchPeriod)
	defer ticker.Stop()
	last := w.seen
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-again:
			return nil
		case <-ticker.C:
		}
		now := w.files()
		if now == last && now != w.seen {
			return nil
		}
		last = now
	}
}

// files describes the files. What cannot be read is part of it, as it may be readable
// later.
func (w *watch) files() sight {
	var config, folders strings.Builder
	info, err := os.Stat(w.config)
	describe(&config, w.config, info, err)
	for _, folder := range w.folders {
		// The errors are in the text.
		files := os.DirFS(folder)
		_ = fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				describe(&folders, path, nil, err)
			case d.IsDir():
				if strings.Count(path, "/") > 0 {
					return fs.SkipDir // files are in the folder, or in one in it
				}
			case strings.HasSuffix(path, ".sql"):
				info, err := fs.Stat(files, path) // of what a link leads to
				describe(&folders, path, info, err)
			}
			return nil
		})
	}
	return sight{config.String(), folders.String()}
}

func describe(b *strings.Builder, path string, info fs.FileInfo, err error) {
	if err != nil {
		fmt.Fprintf(b, "%s: %v\n", path, err)
		return
	}
	fmt.Fprintf(b, "%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
}
