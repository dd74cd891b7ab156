package engine

import (
	"errors"
	"regexp"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// A format is how another tool marks the parts of a file. Files in it are read as they are: they have no templates.
type format struct {
	tool string
	form *regexp.Regexp // of a comment that is a mark; the first group is what it says
	says map[string]mark
}

// A mark is what a comment in a foreign format means.
type mark int

const (
	markUp mark = iota + 1
	markDown
	markUpOutside   // the part outside a transaction
	markDownOutside // the same for the other one
	markOutside     // both parts
	markNothing     // what this package finds out by itself
	markRefused
)

// formats are known by their comments. Their words are those of the tools' own parsers: case counts.
var formats = []format{
	{"goose", regexp.MustCompile(`^--\s*\+goose\s*(.*?)\s*$`), map[string]mark{
		"Up": markUp, "Down": markDown, "NO TRANSACTION": markOutside, "StatementBegin": markNothing, "StatementEnd": markNothing,
		"ENVSUB OFF": markNothing, "ENVSUB ON": markRefused,
	}},
	{"dbmate", regexp.MustCompile(`^--\s*migrate:(.*?)\s*$`), map[string]mark{
		"up": markUp, "down": markDown, "up transaction:true": markUp, "down transaction:true": markDown,
		"up transaction:false": markUpOutside, "down transaction:false": markDownOutside,
	}},
	{"tern", regexp.MustCompile(`^----\s*(create above / drop below|tern: disable-tx)\s*----\s*$`), map[string]mark{
		"create above / drop below": markDown, "tern: disable-tx": markOutside,
	}},
	{"sql-migrate", regexp.MustCompile(`^--\s*\+migrate\s*(.*?)\s*$`), nil},
}

// foreignMark is a mark in a file.
type foreignMark struct {
	mark
	offset int
	text   string
}

// foreignMarks finds the marks of the first foreign format that the file has one of, or none.
func foreignMarks(source string) (tool string, marks []foreignMark, err error) {
	lexer := sqltemplate.NewLexer(source)
	for tok, ok := lexer.Next(); ok; tok, ok = lexer.Next() {
		if tok.Kind != sqltemplate.Comment || tok.Start != lineStart(source, tok.Start) {
			continue
		}
		comment := source[tok.Start:tok.End]
		for _, f := range formats {
			said := f.form.FindStringSubmatch(comment)
			switch {
			case said == nil || tool != "" && f.tool != tool:
				continue
			case f.says == nil:
				return "", nil, at(tok.Start, "file is in the format of %s, which is not supported", f.tool)
			}
			tool = f.tool
			m := f.says[strings.Join(strings.Fields(said[1]), " ")]
			if m == 0 || m == markRefused {
				return "", nil, at(tok.Start, "%s's %q is not supported", tool, comment)
			}
			marks = append(marks, foreignMark{m, tok.Start, comment})
		}
	}
	return tool, marks, lexer.Err()
}

// cutForeign is cutDown for a file in the format of another tool. The file that reverts, or nil, has the text of its
// part at the same place as in this one.
func (f *File) cutForeign(tool string, marks []foreignMark) (down *File, err error) {
	f.format = tool
	reverts := &File{Name: f.Name, Path: f.Path, Version: f.Version, number: f.number, format: tool}
	up, cut := -1, -1
	for _, m := range marks {
		switch m.mark {
		case markUp, markUpOutside:
			if up >= 0 || cut >= 0 {
				return nil, at(m.offset, "second %s", m.text)
			}
			up = m.offset
			f.NoTransaction = f.NoTransaction || m.mark == markUpOutside
		case markDown, markDownOutside:
			if cut >= 0 {
				return nil, at(m.offset, "second %s", m.text)
			}
			cut = m.offset
			reverts.NoTransaction = reverts.NoTransaction || m.mark == markDownOutside
		case markOutside:
			f.NoTransaction, reverts.NoTransaction = true, true
		}
	}
	if tool == "tern" {
		// Its templates are Go's, which may stand anywhere in the text.
		if i := strings.Index(f.Source, "{{"); i >= 0 {
			return nil, at(i, "template of tern, which is not supported")
		}
	} else if up < 0 {
		return nil, at(0, "file has marks of %s and none of them begins the part that is to run", tool)
	} else if i, err := firstCode(f.Source); err != nil {
		return nil, err
	} else if i < up {
		return nil, &placedError{i, errors.New("statement before the part that is to run")}
	}
	if cut < 0 {
		return nil, nil
	}
	source := f.Source
	f.Source = source[:cut]
	end := strings.IndexByte(source[cut:], '\n')
	if end < 0 {
		return nil, nil
	}
	reverts.Source = blank(source[:cut+end]) + source[cut+end:]
	if i, err := firstCode(reverts.Source); err != nil || i == len(reverts.Source) {
		return nil, err // there is nothing in it
	}
	return reverts, nil
}

// firstCode returns the offset of the first token that is no comment, or the length of the text.
func firstCode(source string) (int, error) {
	lexer := sqltemplate.NewLexer(source)
	for tok, ok := lexer.Next(); ok; tok, ok = lexer.Next() {
		if tok.Kind != sqltemplate.Space && tok.Kind != sqltemplate.Comment {
			return tok.Start, nil
		}
	}
	return len(source), lexer.Err()
}
