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

	replaces   *span        // the versions that it stands for; mostly nil
	after      []dependency // the repeatable files that it comes after
	recordOnly bool         // it is recorded and does not run

	format   string // the tool whose format it has; empty: ours
	call     *Call  // what runs instead of a text
	down     *File  // what reverts it; nil when there is nothing
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

// Revertible reports whether there is something that reverts the file.
func (f *File) Revertible() bool { return f.down != nil }

// Load reads the migrations of a module: the *.sql of the root of fsys or, when there are none, of its only folder
// that has some. Files are in numeric order of their versions, which are unique. Whatever this package could not run
// is refused here, as an [*Error] with the place. Files whose names begin with a dot are ignored. What reverts x.up.sql
// is in x.down.sql, or behind a line -- pgdbm:down of a file of any name. Files in the formats of other tools are known
// by their comments. Repeatable files, R__x.sql, come last, in the order of their names and their directives pgdbm:after.
func Load(module string, fsys fs.FS) ([]*File, error) {
	paths, err := findFiles(fsys)
	if err != nil {
		return nil, &Error{Module: module, Err: err}
	}
	files := make([]*File, 0, len(paths))
	var downs, repeatable []*File
	for _, p := range paths {
		f, err := loadFile(module, fsys, p)
		if err != nil {
			return nil, err
		}
		switch {
		case f.revertsNothing():
		case f.Repeatable():
			repeatable = append(repeatable, f)
		case strings.HasSuffix(f.Name, downSuffix):
			downs = append(downs, f)
		default:
			files = append(files, f)
		}
	}
	if repeatable, err = orderRepeatable(module, repeatable); err != nil {
		return nil, err
	}
	if err := pair(module, files, downs); err != nil {
		return nil, err
	}
	return SortFiles(module, append(files, repeatable...))
}

const upSuffix, downSuffix = ".up.sql", ".down.sql"

// pair gives each file of the form x.down.sql to its x.up.sql.
func pair(module string, files, downs []*File) error {
	byName := make(map[string]*File, len(files))
	for _, f := range files {
		byName[f.Name] = f
	}
	for _, d := range downs {
		name := strings.TrimSuffix(d.Name, downSuffix) + upSuffix
		up := byName[name]
		switch {
		case up == nil:
			return d.located(module, "", fmt.Errorf("no file %s that it would revert", name))
		case up.down != nil:
			return d.located(module, "", fmt.Errorf("%s has a part pgdbm:down as well", name))
		case d.down != nil:
			return d.located(module, "", errors.New("directive pgdbm:down in a file that reverts another"))
		}
		up.down = d
	}
	return nil
}

// SortFiles orders files by their versions, which must be unique.
func SortFiles(module string, files []*File) ([]*File, error) {
	slices.SortFunc(files, func(a, b *File) int {
		return cmp.Or(cmp.Compare(a.number, b.number), strings.Compare(a.Name, b.Name))
	})
	for i := 1; i < len(files); i++ {
		if f, before := files[i], files[i-1]; f.number == before.number {
			return nil, &Error{Module: module, Version: f.Version, File: f.Name,
				Err: fmt.Errorf("version %s is also that of %s", f.Version, before.Name)}
		}
	}
	if err := checkBetween(module, files); err != nil {
		return nil, err
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
	// Names that mean something in one spelling only, so that no file that reverts passes for one that does not.
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
	ours := strings.HasSuffix(name, upSuffix) || strings.HasSuffix(name, downSuffix)
	if digits == nil || foreignName.MatchString(name) && !ours {
		return 0, errors.New("name is none of 001_x.sql, 001_x.up.sql, V1__x.sql, 20060102150405_x.sql, R__x.sql")
	}
	n, err := strconv.ParseInt(digits[1], 10, 64)
	if err != nil || n >= repeatableFrom {
		return 0, fmt.Errorf("version %s is higher than %d", digits[1], int64(repeatableFrom-1))
	}
	return n, nil
}

func loadFile(module string, fsys fs.FS, p string) (*File, error) {
	f := &File{Name: path.Base(p), Path: p}
	version, err := parseVersion(f)
	if err == nil {
		f.Version = version
		err = f.load(fsys)
	}
	if err != nil {
		return nil, f.located(module, "", err)
	}
	return f, nil
}

// parseVersion returns the version in a file's name, and numbers the file by it. Repeatable files are numbered later.
func parseVersion(f *File) (string, error) {
	if m := repeatableName.FindStringSubmatch(f.Name); m != nil && !foreignName.MatchString(f.Name) {
		f.number = repeatableFrom
		if !utf8.ValidString(f.Name) || strings.ContainsFunc(f.Name, func(c rune) bool { return c <= ' ' || c == 0x7f || c == ',' }) {
			return "", errors.New("name is not plain UTF-8 text without spaces and commas")
		}
		return repeatablePrefix + m[1], nil
	}
	n, err := parseName(f.Name)
	f.number = n
	return strconv.FormatInt(n, 10), err
}

// read reads the text.
func (f *File) read(fsys fs.FS) error {
	data, err := fs.ReadFile(fsys, f.Path)
	if err != nil {
		return err
	}
	f.Source = normalise(string(data))
	if i := invalidByte(f.Source); i >= 0 {
		return at(i, "byte %#02x is not text in UTF-8", f.Source[i])
	}
	return nil
}

// load reads and checks the text.
func (f *File) load(fsys fs.FS) error {
	if err := f.read(fsys); err != nil {
		return err
	}
	if f.revertsNothing() {
		return nil
	}
	whole := f.Source
	down, err := f.cut()
	if err == nil {
		err = f.unwrap()
	}
	if err == nil && down != nil {
		err = down.unwrap()
	}
	if err == nil {
		err = f.parse()
	}
	if err == nil && down != nil {
		f.down = down
		err = down.parse()
	}
	if err != nil {
		f.Source = whole // where the error is
	}
	return err
}

// cut divides the text into what is to run, which stays in Source, and what reverts that, if there is such a part.
func (f *File) cut() (down *File, err error) {
	tool, marks, err := foreignMarks(f.Source)
	if err != nil {
		return nil, err
	}
	if tool != "" {
		return f.cutForeign(tool, marks)
	}
	text, err := f.cutDown()
	if err != nil || text == "" {
		return nil, err
	}
	if f.Repeatable() {
		return nil, at(len(f.Source), "directive pgdbm:down in a repeatable file")
	}
	return &File{Name: f.Name, Path: f.Path, Version: f.Version, number: f.number, Source: text}, nil
}

// cutDown leaves in Source what is before the line -- pgdbm:down, and returns what is behind it, at the same place of a
// text that is blank before: so positions in it are those in the file.
func (f *File) cutDown() (string, error) {
	directives, err := sqltemplate.Directives(f.Source)
	if err != nil {
		return "", err
	}
	keep, cut := "", -1
	for _, d := range directives {
		switch {
		case d.Name == "no-templates" && d.Head && cut < 0:
			keep = "-- pgdbm:no-templates" // it is for the whole file
		case d.Name != "down":
		case cut >= 0:
			return "", at(d.Offset, "second directive pgdbm:down")
		case d.Args != "" || strings.TrimRight(f.Source[:d.Offset], " \t") != strings.TrimRight(f.Source[:lineStart(f.Source, d.Offset)], " \t"):
			return "", at(d.Offset, "directive pgdbm:down takes a line of its own")
		default:
			cut = d.Offset
		}
	}
	if cut < 0 {
		return "", nil
	}
	source := f.Source
	f.Source = source[:lineStart(source, cut)]
	above := blank(source[:cut])
	line := blank("-- pgdbm:down")
	if keep != "" {
		line = keep // longer, on a line of its own
	}
	rest := strings.IndexByte(source[cut:], '\n')
	if rest < 0 {
		return above + line, nil
	}
	return above + line + source[cut+rest:], nil
}

// lineStart returns where the line of an offset begins.
func lineStart(s string, offset int) int { return strings.LastIndexByte(s[:offset], '\n') + 1 }

// parse checks the text.
func (f *File) parse() error {
	var err error
	if f.format != "" {
		f.template = sqltemplate.Verbatim(f.Source)
	} else if f.template, err = sqltemplate.ParseFile(f.Source); err != nil {
		return err
	}
	if f.pieces, err = sqltemplate.Split(f.Source); err != nil {
		return err
	}
	if err = f.check(); err != nil {
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
