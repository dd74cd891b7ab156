package main

import (
	"errors"
	"io/fs"
	"os"
)

// folder is the files of a folder, of which only regular ones are opened: a pipe
// would be waited for, and nobody could interrupt that.
type folder struct{ files fs.FS }

func newFolder(path string) fs.FS { return folder{os.DirFS(path)} }

func (f folder) Open(name string) (fs.File, error) {
	info, err := fs.Stat(f.files, name)
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("is no regular file")}
	}
	if err != nil {
		return nil, err
	}
	return f.files.Open(name)
}
