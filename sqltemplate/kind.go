package sqltemplate

// Kind is the class of a token.
type Kind uint8

const (
	// Space is a run of blanks and line ends, and a byte order mark at the start of a script.
	Space Kind = iota
	// Comment is one -- comment without its line end, or one /* comment */ with all that is nested in it.
	Comment
	// Ident is an identifier or keyword without quotes.
	Ident
	// QuotedIdent is "x" or U&"x".
	QuotedIdent
	// String is 'x', E'x', B'x', X'x', N'x' or U&'x', together with the parts that continue it on later lines.
	String
	// DollarString is $$x$$ or $tag$x$tag$.
	DollarString
	// Param is $1.
	Param
	// Number is 1, 1_000, 0x1F, 1.5 or 1e3. A sign is an Operator.
	Number
	// Operator is a run of operator characters, cut as PostgreSQL cuts it.
	Operator
	// Punct is one other character, or one of ::, := and .. .
	Punct
	// Semicolon is ; wherever it stands in code, so also between the statements of a BEGIN ATOMIC body.
	Semicolon
	// CopyData is the rows after a COPY ... FROM STDIN statement, with the line \. that ends them.
	CopyData
	// MetaCommand is a backslash in code and the rest of its line, without the line end: a command of psql.
	MetaCommand
)

var kindNames = [...]string{
	"Space", "Comment", "Ident", "QuotedIdent", "String", "DollarString", "Param", "Number", "Operator", "Punct",
	"Semicolon", "CopyData", "MetaCommand",
}

// String returns the name of the constant.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "Kind?"
}

// Token is one token of a text: the bytes from Start up to End.
type Token struct {
	Kind       Kind
	Start, End int
}

// blank reports whether the token means nothing to PostgreSQL.
func (t Token) blank() bool { return t.Kind == Space || t.Kind == Comment }
