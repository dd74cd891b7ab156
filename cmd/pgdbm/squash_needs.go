package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/projectfile"
)

// squashNeed is a module that the one to squash requires, and where it is meanwhile.
type squashNeed struct {
	module pgdbm.Module
	schema string // a name that no text of anybody's holds
}

// neededModules are those that words name, NAME or NAME=FOLDER, each behind those
// that it requires itself. The file, which may be nil, has what words leave open.
func neededModules(file *projectfile.File, words []string) ([]squashNeed, error) {
	var needs []squashNeed
	var add func(word string) error
	add = func(word string) error {
		name, folder, own := strings.Cut(word, "=")
		if slices.ContainsFunc(needs, func(n squashNeed) bool { return n.module.Name == name }) {
			return nil
		}
		m := pgdbm.Module{Name: name}
		for _, n := range needs {
			m.Requires = append(m.Requires, n.module.Name) // unless the file knows better
		}
		var written *projectfile.Module
		if file != nil {
			written = file.Module(name)
		}
		switch {
		case written != nil:
			for _, on := range written.DependsOn {
				if err := add(on); err != nil {
					return err
				}
			}
			m.Requires, m.Extensions = written.DependsOn, written.Extensions
		case !own && file != nil:
			return errors.Join(needsFolder(name), file.ErrNoModule(name))
		case !own:
			return needsFolder(name)
		}
		if !own {
			var err error
			if folder, err = written.Migrations(); err != nil {
				return err
			}
		}
		if err := checkFolder(folder); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		m.Files = newFolder(folder)
		needs = append(needs, squashNeed{m, fmt.Sprintf("pgdbm_squash_needs_%dx", len(needs))})
		return nil
	}
	var names []string
	for _, word := range words {
		name, _, _ := strings.Cut(word, "=")
		if slices.Contains(names, name) {
			return nil, fmt.Errorf("%s: given twice", name)
		}
		names = append(names, name)
		if err := add(word); err != nil {
			return nil, err
		}
	}
	return needs, nil
}

func needsFolder(name string) error {
	return fmt.Errorf("%s: its files are needed, as %[1]s=FOLDER", name)
}

// attachNeeds makes the modules that the squashed one requires.
func (s *squash) attachNeeds(ctx context.Context) error {
	for _, n := range s.needs {
		db, err := s.pool.Handle(pgdbm.HandleConfig{Schema: n.schema, Aliases: maps.Clone(s.aliases)})
		if err != nil {
			return err
		}
		if _, err := pgdbm.Attach(ctx, db, n.module); err != nil {
			return err
		}
		s.aliases[n.module.Name] = n.schema
	}
	return nil
}

// needsState is what is in their schemas.
func (s *squash) needsState(ctx context.Context) ([]string, error) {
	var states []string
	for _, n := range s.needs {
		text, err := pgDump(ctx, s.url, n.schema, "--no-owner", "--column-inserts")
		if err != nil {
			return nil, err
		}
		stable, err := stableDump(text)
		if err != nil {
			return nil, err
		}
		states = append(states, string(stable))
	}
	return states, nil
}

// namedNeeds puts templates where objects of the modules that are required stand.
func (s *squash) namedNeeds(text string) (string, error) {
	for _, n := range s.needs {
		object := regexp.MustCompile(`(?:\b` + n.schema + `|"` + n.schema + `")\.("(?:[^"]|"")+"|[a-z_][a-z0-9_]*)`)
		text = object.ReplaceAllStringFunc(text, func(match string) string {
			name := object.FindStringSubmatch(match)[1]
			if bare := strings.Trim(name, `"`); plainName.MatchString(bare) {
				name = bare
			}
			return "{{tables." + n.module.Name + "." + name + "}}"
		})
		if strings.Contains(text, n.schema) {
			return "", fmt.Errorf("the schema of module %s stands where no placeholder can", n.module.Name)
		}
	}
	return text, nil
}

var plainName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)
