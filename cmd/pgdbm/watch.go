package main

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// watchPeriod is the time between two looks at the files.
const watchPeriod = 100 * time.Millisecond

// watch looks at the folders of modules, over and over: that works on every system
// and file system, mounted ones included, and the files are few.
type watch struct {
	chosen []chosen
	seen   string // what the files were at the last look
}

// look remembers what the files are.
func (w *watch) look() { w.seen = w.files() }

// wait returns when the files are other than they were, and have been so for a
// period: somebody may be in the middle of writing them. Its error is the
// context's cause.
func (w *watch) wait(ctx context.Context) error {
	ticker := time.NewTicker(watchPeriod)
	defer ticker.Stop()
	last := w.seen
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
		now := w.files()
		if now == last && now != w.seen {
			return nil
		}
		last = now
	}
}

// files describes the modules' files: names, sizes and times. What cannot be read
// is part of it, as it may be readable later.
func (w *watch) files() string {
	var b strings.Builder
	for _, c := range w.chosen {
		// The errors are in the text.
		_ = fs.WalkDir(c.module.Files, ".", func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				fmt.Fprintf(&b, "%s: %v\n", path, err)
			case d.IsDir():
				if strings.Count(path, "/") > 0 {
					return fs.SkipDir // files are in the folder, or in one in it
				}
			case strings.HasSuffix(path, ".sql"):
				info, err := d.Info()
				if err != nil {
					fmt.Fprintf(&b, "%s: %v\n", path, err)
				} else {
					fmt.Fprintf(&b, "%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
				}
			}
			return nil
		})
	}
	return b.String()
}
