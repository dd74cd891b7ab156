package engine

import (
	"slices"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// golang-migrate runs a file as one message, so many of its files, x.up.sql and x.down.sql, are one transaction of their
// own making. Here they are in one of the engine's, and the two statements mean nothing.

// unwrap blanks the statements that begin and end the transaction around a whole file: the positions of what is between
// stay. Any other transaction control is left, to be refused with its place.
func (f *File) unwrap() error {
	if f.format != "" || !strings.HasSuffix(f.Name, upSuffix) && !strings.HasSuffix(f.Name, downSuffix) || f.outside() {
		return nil
	}
	pieces, err := sqltemplate.Split(f.Source)
	if err != nil {
		return err
	}
	var code []sqltemplate.Piece
	for _, p := range pieces {
		if runs(p, f.Source) {
			code = append(code, p)
		}
	}
	if len(code) < 3 {
		return nil
	}
	first, last := code[0], code[len(code)-1]
	if first.Kind != sqltemplate.Statement || last.Kind != sqltemplate.Statement || !beginsPlainly(f.words(first, 8)) || !commitsPlainly(f.words(last, 8)) {
		return nil
	}
	for _, p := range []sqltemplate.Piece{first, last} {
		f.Source = f.Source[:p.Code] + blank(f.Source[p.Code:p.End]) + f.Source[p.End:]
	}
	return nil
}

// beginsPlainly recognises BEGIN and its like without options.
func beginsPlainly(words []string) bool {
	return isOneOf(words, "begin", "begin work", "begin transaction", "start transaction")
}

func commitsPlainly(words []string) bool {
	return isOneOf(words, "commit", "commit work", "commit transaction", "end", "end work", "end transaction")
}

func isOneOf(words []string, forms ...string) bool {
	return slices.Contains(forms, strings.Join(words, " "))
}
