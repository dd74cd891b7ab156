package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// A File is one migration, checked as far as it can be without a server. It is immutable.
type File struct {
	Name         string // base name, as the ledger records it
	Path         string // in the file system it was loaded from
	Version      string // decimal, without leading zeros
	Source       string // the text without BOM, its line ends \n
	RawHash      string // SHA-256 of Source, in hex
	SemanticHash string // as RawHash, of its tokens without space and comments; templates not expanded
	Statements   int    // how many the server is to run

	NoTransaction bool // each statement runs on its own, as the file's head says

	number   int64
	template *sqltemplate.Template
	pieces   []sqltemplate.Piece
	verbatim bool // sent as it is: no COPY data, no meta-commands

	lockTimeout      *time.Duration // of the file's head, or nil
	statementTimeout *time.Duration

	traceless     bool // the next file of a run may use its connection
	authorization bool // it may change who the session's user is
}

// Modules returns the other modules whose objects the file names, sorted.
func (f *File) Modules() []string { return f.template.Modules() }

// Load reads the migrations of a module: the *.sql of the root of fsys or, when there are none, of its only folder
// that has some. Files are in numeric order of their versions, which are unique. Whatever this package could not run
// is refused here, as an [*Error] with the place. Files whose names begin with a dot are ignored.
func Load(module string, fsys fs.FS) ([]*File, error) {
	paths, err := findFiles(fsys)
	if err != nil {
		return nil, &Error{Module: module, Err: err}
	}
	files := make([]*File, 0, len(paths))
	for _, p := range paths {
		f, err := loadFile(module, fsys, p)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b *File) int {
		return cmp.Or(cmp.Compare(a.number, b.number), strings.Compare(a.Name, b.Name))
	})
	for i, f := range files[1:] {
		if f.number == files[i].number {
			return nil, &Error{Module: module, Version: f.Version, File: f.Name,
				Err: fmt.Errorf("version %s is also that of %s", f.Version, files[i].Name)}
		}
	}
	return files, nil
}

// findFiles returns the paths of the migrations.
func findFiles(fsys fs.FS) ([]string, error) {
	paths, folders, err := listFiles(fsys, ".")
	if err != nil || len(paths) > 0 {
		return paths, err
	}
	var found string
	for _, folder := range folders {
		inside, _, err := listFiles(fsys, folder)
		if err != nil {
			return nil, err
		}
		if len(inside) == 0 {
			continue
		}
		if len(paths) > 0 {
			return nil, fmt.Errorf("folders %s and %s both hold *.sql files, the root holds none", found, folder)
		}
		paths, found = inside, folder
	}
	if len(paths) == 0 {
		return nil, errors.New("no *.sql file in the root or in a folder of it")
	}
	return paths, nil
}

func listFiles(fsys fs.FS, folder string) (paths, folders []string, err error) {
	entries, err := fs.ReadDir(fsys, folder)
	if err != nil {
		return nil, nil, err
	}
	for _, entry := range entries {
		name := entry.Name()
		switch {
		case strings.HasPrefix(name, "."):
		case entry.IsDir():
			folders = append(folders, path.Join(folder, name))
		case strings.EqualFold(path.Ext(name), ".sql"):
			paths = append(paths, path.Join(folder, name))
		}
	}
	return paths, folders, nil
}

var (
	plainName  = regexp.MustCompile(`^([0-9]+)_.*[^_].*\.sql$`)
	flywayName = regexp.MustCompile(`^V([0-9]+)__.+\.sql$`)
	// Names of other tools' files that would pass for ours and are not to be run going up, or not once.
	foreignName = regexp.MustCompile(`(?i)\.(up|down|undo)\.sql$`)
)

// parseName returns the version in a file's name.
func parseName(name string) (int64, error) {
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return 0, errors.New("name is not plain UTF-8 text")
	}
	digits := plainName.FindStringSubmatch(name)
	if digits == nil {
		digits = flywayName.FindStringSubmatch(name)
	}
	if digits == nil || foreignName.MatchString(name) {
		return 0, errors.New("name is none of 001_x.sql, V1__x.sql, 20060102150405_x.sql")
	}
	n, err := strconv.ParseInt(digits[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("version %s is higher than %d", digits[1], int64(1<<63-1))
	}
	return n, nil
}

func loadFile(module string, fsys fs.FS, p string) (*File, error) {
	f := &File{Name: path.Base(p), Path: p}
	var err error
	if f.number, err = parseName(f.Name); err == nil {
		f.Version = strconv.FormatInt(f.number, 10)
		err = f.load(fsys)
	}
	if err != nil {
		return nil, f.located(module, "", err)
	}
	return f, nil
}

// load reads and checks the text.
func (f *File) load(fsys fs.FS) error {
	data, err := fs.ReadFile(fsys, f.Path)
	if err != nil {
		return err
	}
	f.Source = normalise(string(data))
	if i := invalidByte(f.Source); i >= 0 {
		return at(i, "byte %#02x is not text in UTF-8", f.Source[i])
	}
	if f.template, err = sqltemplate.ParseFile(f.Source); err != nil {
		return err
	}
	if f.pieces, err = sqltemplate.Split(f.Source); err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	return f.hash()
}

// mentions reports whether the text has one of the words, in whatever place and part.
func (f *File) mentions(words ...string) bool {
	text := lowerASCII(f.Source)
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}

// normalise strips the byte order mark and makes line ends \n, so that a checkout of another system is the same file:
// to the hashes, and to the server, whose function bodies would keep the difference.
func normalise(text string) string {
	return strings.ReplaceAll(strings.TrimPrefix(text, "\ufeff"), "\r\n", "\n")
}

// invalidByte returns the offset of the first byte that no text of the server may hold, or -1.
func invalidByte(s string) int {
	for i := 0; i < len(s); {
		c, size := utf8.DecodeRuneInString(s[i:])
		if c == 0 || c == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// placedError is a fault at a byte of a file's source.
type placedError struct {
	offset int
	err    error
}

func (e *placedError) Error() string { return e.err.Error() }
func (e *placedError) Unwrap() error { return e.err }

func at(offset int, format string, args ...any) error {
	return &placedError{offset, fmt.Errorf(format, args...)}
}

// located makes the Error of a file out of what went wrong with it.
func (f *File) located(module, schema string, err error) *Error {
	e := &Error{Module: module, Schema: schema, Version: f.Version, File: f.Name, Err: err}
	switch cause := err.(type) {
	case *placedError:
		e.Line, e.Column = sqltemplate.Position(f.Source, cause.offset)
		e.Err = cause.err
	case *sqltemplate.Error:
		e.Line, e.Column = cause.Line, cause.Column
		e.Err = templateError{cause}
	}
	return e
}
