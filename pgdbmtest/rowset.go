package pgdbmtest

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// rowSet is what a file has for a table.
type rowSet struct {
	file  string
	table *table
	rows  []row
}

// row is one record. Values are text that PostgreSQL reads, or nil.
type row struct {
	line    int
	columns []string
	values  []any
}

func (r row) value(column string) any {
	if i := slices.Index(r.columns, column); i >= 0 {
		return r.values[i]
	}
	return nil
}

// fills reports whether any row has a value for the column.
func (s *rowSet) fills(column string) bool {
	return slices.ContainsFunc(s.rows, func(r row) bool { return slices.Contains(r.columns, column) })
}

// ordinal is what may stand before a table's name to order files in a folder.
var ordinal = regexp.MustCompile(`^[0-9]+_`)

func (l *loader) read(file string) (*rowSet, error) {
	text, err := fs.ReadFile(l.fsys, file)
	if err != nil {
		return nil, err
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	base := strings.TrimSuffix(path.Base(file), path.Ext(file))
	s := &rowSet{file: file}
	if s.table, err = readTable(l.ctx, l.tx, l.schema, base); errors.Is(err, errNoTable) && ordinal.MatchString(base) {
		s.table, err = readTable(l.ctx, l.tx, l.schema, ordinal.ReplaceAllString(base, ""))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if path.Ext(file) == ".csv" {
		err = s.readCSV(text)
	} else {
		err = s.readJSON(text)
	}
	if err != nil {
		return nil, fmt.Errorf("%s:%w", file, err)
	}
	return s, nil
}

// checkColumn reports why no value can go into a column.
func (s *rowSet) checkColumn(name string, earlier []string) error {
	c, ok := s.table.column(name)
	switch {
	case !ok:
		return fmt.Errorf("column %q: table %q has none of this name", name, s.table.relation)
	case c.generated:
		return fmt.Errorf("column %q: PostgreSQL computes it", name)
	case slices.Contains(earlier, name):
		return fmt.Errorf("column %q: named twice", name)
	}
	return nil
}

// readCSV needs to know which fields are quoted, which encoding/csv tells by
// their places only.
func (s *rowSet) readCSV(text []byte) error {
	lines := bytes.Split(text, []byte("\n"))
	r := csv.NewReader(bytes.NewReader(text))
	r.FieldsPerRecord = -1 // our message is clearer
	var head []string
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			if head == nil {
				return errors.New("1: no record that names the columns")
			}
			return nil
		}
		if bad, ok := errors.AsType[*csv.ParseError](err); ok {
			return fmt.Errorf("%d:%d: %w", bad.Line, bad.Column, bad.Err)
		}
		if err != nil {
			return err
		}
		line, _ := r.FieldPos(0)
		if head == nil {
			for i, name := range record {
				if err := s.checkColumn(name, record[:i]); err != nil {
					return fmt.Errorf("%d: %w", line, err)
				}
			}
			head = record
			continue
		}
		if len(record) != len(head) {
			return fmt.Errorf("%d: %d fields for %d columns", line, len(record), len(head))
		}
		values := make([]any, len(record))
		for i, field := range record {
			at, column := r.FieldPos(i)
			quoted := at-1 < len(lines) && column-1 < len(lines[at-1]) && lines[at-1][column-1] == '"'
			if field != "" || quoted {
				values[i] = field
			}
		}
		s.rows = append(s.rows, row{line, head, values})
	}
}

func (s *rowSet) readJSON(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	fail := func(err error) error {
		offset := dec.InputOffset()
		if bad, ok := errors.AsType[*json.SyntaxError](err); ok {
			offset = bad.Offset
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("%d: %w", lineOf(string(text), min(int(offset), len(text))), err)
	}
	expect := func(want json.Delim) error {
		token, err := dec.Token()
		if err == nil && token != want {
			err = fmt.Errorf("%v where %v should be: an array of objects is needed", token, want)
		}
		return err
	}
	if err := expect('['); err != nil {
		return fail(err)
	}
	for dec.More() {
		if err := expect('{'); err != nil {
			return fail(err)
		}
		r := row{line: lineOf(string(text), int(dec.InputOffset()))}
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return fail(err)
			}
			if err := s.checkColumn(name.(string), r.columns); err != nil {
				return fail(err)
			}
			var value any
			var raw json.RawMessage
			if err := dec.Decode(&raw); err != nil {
				return fail(err)
			}
			c, _ := s.table.column(name.(string))
			if value, err = jsonValue(raw, c.array); err != nil {
				return fail(fmt.Errorf("column %q: %w", name, err))
			}
			r.columns, r.values = append(r.columns, name.(string)), append(r.values, value)
		}
		if err := expect('}'); err != nil {
			return fail(err)
		}
		s.rows = append(s.rows, r)
	}
	if err := expect(']'); err != nil {
		return fail(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fail(errors.New("something follows the array"))
	}
	return nil
}

// jsonValue is the text that PostgreSQL reads for a JSON value.
func jsonValue(raw json.RawMessage, array bool) (any, error) {
	switch raw[0] {
	case 'n':
		return nil, nil
	case '"':
		var text string
		err := json.Unmarshal(raw, &text)
		return text, err
	case '[':
		if array {
			return arrayText(raw)
		}
	}
	return string(raw), nil
}

// arrayText is the text of an array, as PostgreSQL's documentation of array
// input has it.
func arrayText(raw json.RawMessage) (string, error) {
	var elements []json.RawMessage
	if err := json.Unmarshal(raw, &elements); err != nil {
		return "", err
	}
	parts := make([]string, len(elements))
	for i, e := range elements {
		switch v, err := jsonValue(e, true); {
		case err != nil:
			return "", err
		case v == nil:
			parts[i] = "NULL"
		case e[0] == '[':
			parts[i] = v.(string)
		default:
			parts[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v.(string)) + `"`
		}
	}
	return "{" + strings.Join(parts, ",") + "}", nil
}

// sortRows moves rows behind those that they point to by the keys, each a list
// of columns and of those they point to. Values are compared as text; what then
// is in no order is for PostgreSQL to refuse.
func (s *rowSet) sortRows(keys [][2][]string) {
	key := func(r row, columns []string) string {
		var b strings.Builder
		for _, c := range columns {
			v := r.value(c)
			if v == nil {
				return "" // points nowhere
			}
			fmt.Fprintf(&b, "%q ", v)
		}
		return b.String()
	}
	at := make([]map[string]int, len(keys))
	for k := range keys {
		at[k] = map[string]int{}
		for i, r := range s.rows {
			if text := key(r, keys[k][1]); text != "" {
				at[k][text] = i
			}
		}
	}
	sorted := make([]row, 0, len(s.rows))
	seen := make([]bool, len(s.rows))
	var visit func(i int)
	visit = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		for k := range keys {
			if j, ok := at[k][key(s.rows[i], keys[k][0])]; ok {
				visit(j)
			}
		}
		sorted = append(sorted, s.rows[i])
	}
	for i := range s.rows {
		visit(i)
	}
	s.rows = sorted
}
