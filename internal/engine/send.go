package engine

import (
	"bytes"
	"context"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// A message is what is sent at once of an expanded file: statements, or one COPY with its data.
type message struct {
	start int    // offset in the expanded text
	sql   string // of the same length as the expanded text from start, so that the server's positions hold
	data  []byte
	copy  bool
	first int // index of its first statement among those of the file
}

// messages divides an expanded file. It is one message whole, unless it has COPY data, which the protocol takes
// separately: then what is before and after is sent whole. Meta-commands become space.
func (f *File) messages(expanded string) ([]message, error) {
	if f.verbatim {
		return []message{{sql: expanded}}, nil
	}
	pieces, err := sqltemplate.Split(expanded)
	if err != nil {
		return nil, err
	}
	var out []message
	rest := message{}
	var text strings.Builder
	statements := 0
	flush := func() {
		if statements > rest.first {
			rest.sql = text.String()
			out = append(out, rest)
		}
	}
	for _, p := range pieces {
		switch p.Kind {
		case sqltemplate.Meta:
			text.WriteString(blank(expanded[p.Start:p.End]))
		case sqltemplate.CopyIn:
			flush()
			out = append(out, message{start: p.Code, sql: expanded[p.Code:p.Data], copy: true,
				data: []byte(expanded[p.Data:p.DataEnd]), first: statements})
			statements++
			rest = message{start: p.End, first: statements}
			text.Reset()
		default:
			text.WriteString(expanded[p.Start:p.End])
			if runs(p, expanded) {
				statements++
			}
		}
	}
	flush()
	return out, nil
}

// blank replaces all but line ends by space, byte for byte.
func blank(s string) string {
	b := bytes.Repeat([]byte{' '}, len(s))
	for i := range len(s) {
		if s[i] == '\n' || s[i] == '\r' { // each of which ends a line
			b[i] = s[i]
		}
	}
	return string(b)
}

// send runs one message and returns how many of its statements were completed. Rows that statements return are read
// and dropped.
func (s *session) send(ctx context.Context, m message) (done int, err error) {
	if m.copy {
		_, err := s.pg.CopyFrom(ctx, bytes.NewReader(m.data), m.sql)
		return 0, err
	}
	results := s.pg.Exec(ctx, m.sql)
	for results.NextResult() {
		// The server completes each statement once, also where a rule made several of it or none.
		if _, err := results.ResultReader().Close(); err == nil {
			done++
		}
	}
	return done, results.Close()
}
