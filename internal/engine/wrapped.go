package engine

import (
	"slices"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// unwrap makes a part of another tool's file that is one transaction from its first statement to its last a part
// without BEGIN and COMMIT: it runs in the engine's transaction, together with its record. This holds too where the
// tool was told to open no transaction, since the part opens its own. BEGIN and COMMIT become space, so that what
// is between them keeps its place.
//
// Parts that begin otherwise are left as they are, and check refuses a BEGIN in them. In golang-migrate's pairs a
// statement that no transaction may hold, alone in its file, runs outside one, as it does there.
func (f *File) unwrap() error {
	if !f.mayWrap() {
		return nil
	}
	pieces, err := sqltemplate.Split(f.Source)
	if err != nil {
		return err
	}
	pieces = slices.DeleteFunc(pieces, func(p sqltemplate.Piece) bool { return !runs(p, f.Source) })
	if len(pieces) == 1 && f.format == "" && pieces[0].Kind == sqltemplate.Statement {
		head := f.words(pieces[0], 64)
		f.NoTransaction = len(head) > 0 && needsNoTransaction(head) != "" // golang-migrate sends it alone, too
	}
	if len(pieces) == 0 || !f.opens(pieces[0]) {
		return nil
	}
	begin := pieces[0]
	if words := skipNoise(f.words(begin, 64)); len(words) > 0 {
		return at(begin.Code, "BEGIN with %s, which the migration's transaction does not have", strings.ToUpper(strings.Join(words, " ")))
	}
	end := slices.IndexFunc(pieces[1:], f.ends) + 1
	switch {
	case end == 0:
		return at(begin.Code, "BEGIN without a COMMIT behind it")
	case !f.commits(pieces[end]):
		return at(pieces[end].Code, "%s in a migration, %s", f.said(pieces[end]), f.whyNoControl())
	case end+1 < len(pieces) && f.opens(pieces[end+1]):
		return at(pieces[end+1].Code, "second transaction in a migration, which has one")
	case end+1 < len(pieces):
		return at(pieces[end+1].Code, "statement after the COMMIT that ends the migration's transaction")
	}
	f.Source = blankPiece(blankPiece(f.Source, begin), pieces[end])
	f.NoTransaction = false
	return nil
}

// revertsNothing reports whether the file is golang-migrate's of a migration that nothing reverts: it has no statement.
func (f *File) revertsNothing() bool {
	i, err := firstCode(f.Source)
	return strings.HasSuffix(f.Name, downSuffix) && err == nil && i == len(f.Source)
}

// mayWrap reports whether the file is one of a tool whose files may hold their own transaction: a foreign format, or
// golang-migrate's pair of files, which no comment tells from ours.
func (f *File) mayWrap() bool {
	if f.format != "" {
		return true
	}
	return (strings.HasSuffix(f.Name, upSuffix) || strings.HasSuffix(f.Name, downSuffix)) && !f.outside()
}

// opens reports whether a piece is BEGIN or START TRANSACTION.
func (f *File) opens(p sqltemplate.Piece) bool {
	command := f.control(p)
	return command == "BEGIN" || command == "START TRANSACTION"
}

// ends reports whether a piece ends a transaction or begins another, in whatever way.
func (f *File) ends(p sqltemplate.Piece) bool { return f.control(p) != "" }

// commits reports whether a piece is COMMIT or END and nothing more.
func (f *File) commits(p sqltemplate.Piece) bool {
	command := f.control(p)
	return (command == "COMMIT" || command == "END") && len(skipNoise(f.words(p, 64))) == 0
}

// control names the command of transaction control that a piece is, or none.
func (f *File) control(p sqltemplate.Piece) string {
	if p.Kind != sqltemplate.Statement {
		return ""
	}
	head := f.words(p, 4)
	if len(head) == 0 {
		return ""
	}
	return transactionControl(head)
}

// said is what a piece of transaction control says, without its name or number.
func (f *File) said(p sqltemplate.Piece) string {
	if words := f.words(p, 3); len(words) == 3 && begins(words[1:], "and", "chain") {
		return strings.ToUpper(strings.Join(words, " "))
	}
	return f.control(p)
}

// skipNoise drops the command and the word behind it that says nothing: BEGIN WORK, COMMIT TRANSACTION.
func skipNoise(words []string) []string {
	words = words[1:]
	if begins(words, "work") || begins(words, "transaction") {
		words = words[1:]
	}
	return words
}

// blankPiece makes space of a piece of transaction control, whose words are ASCII. Its comments stay: what follows keeps
// its place in bytes and in characters.
func blankPiece(source string, p sqltemplate.Piece) string {
	var b strings.Builder
	b.WriteString(source[:p.Code])
	piece := source[p.Code:p.End]
	lexer := sqltemplate.NewLexer(piece)
	for tok, ok := lexer.Next(); ok; tok, ok = lexer.Next() {
		if tok.Kind == sqltemplate.Comment {
			b.WriteString(piece[tok.Start:tok.End])
		} else {
			b.WriteString(blank(piece[tok.Start:tok.End]))
		}
	}
	b.WriteString(source[p.End:])
	return b.String()
}
