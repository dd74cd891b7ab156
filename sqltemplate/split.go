package sqltemplate

// PieceKind is the class of a piece.
type PieceKind uint8

const (
	// Blank is space and comments only. Only the last piece can be one.
	Blank PieceKind = iota
	// Statement is one statement. The last one may lack its semicolon, and a statement may be nothing but one.
	Statement
	// CopyIn is a COPY ... FROM STDIN statement and the rows that follow it.
	CopyIn
	// Meta is a psql command.
	Meta
)

var pieceNames = [...]string{"Blank", "Statement", "CopyIn", "Meta"}

// String returns the name of the constant.
func (k PieceKind) String() string {
	if int(k) < len(pieceNames) {
		return pieceNames[k]
	}
	return "PieceKind?"
}

// Piece is a part of a script: the bytes from Start up to End. Space and comments belong to the piece after them.
type Piece struct {
	Kind       PieceKind
	Start, End int
	// Code is the offset of the first token that is neither space nor comment, and End if there is none.
	Code int
	// Data and DataEnd enclose the rows of a CopyIn, without the line \. that ends them. What to send before the rows
	// is the text from Code up to Data.
	Data, DataEnd int
}

// Split cuts a script into pieces of one statement each. They are adjacent and make up the whole text. A statement ends
// with a semicolon, which belongs to it, but not with one in parentheses (CREATE RULE) or in a BEGIN ATOMIC body. A
// psql command ends the statement it stands in.
//
// The error is that of [Lexer.Err]; there are no pieces then.
func Split(src string) ([]Piece, error) {
	s := splitter{lex: NewLexer(src)}
	s.reset(0)
	for {
		tok, ok := s.lex.Next()
		if !ok {
			break
		}
		s.add(tok)
	}
	if err := s.lex.Err(); err != nil {
		return nil, err
	}
	s.finish(len(src))
	return s.pieces, nil
}

// splitter holds the piece that is being made.
type splitter struct {
	lex    *Lexer
	pieces []Piece
	piece  Piece
}

// reset begins a piece.
func (s *splitter) reset(start int) { s.piece = Piece{Start: start, Code: -1} }

// add takes the token that the lexer has just returned.
func (s *splitter) add(tok Token) {
	switch {
	case tok.blank():
		return
	case tok.Kind == CopyData:
		s.piece.Data = tok.Start
		s.piece.DataEnd, _ = copyEnd(s.lex.src, tok.Start)
		s.end(CopyIn, tok.End)
		return
	case tok.Kind == MetaCommand && s.piece.Code >= 0:
		s.end(Statement, tok.Start)
	}
	if s.piece.Code < 0 {
		s.piece.Code = tok.Start
	}
	switch {
	case tok.Kind == MetaCommand:
		s.end(Meta, tok.End)
	case s.lex.copy == copyLine:
		s.piece.Kind = CopyIn
	case s.lex.ended:
		s.end(Statement, tok.End)
	}
}

// end ends the piece and begins the next one.
func (s *splitter) end(kind PieceKind, end int) {
	s.piece.Kind, s.piece.End = kind, end
	s.pieces = append(s.pieces, s.piece)
	s.reset(end)
}

// finish ends the last piece of the text.
func (s *splitter) finish(end int) {
	switch {
	case s.piece.Start == end:
	case s.piece.Code < 0:
		s.piece.Code = end
		s.end(Blank, end)
	case s.piece.Kind == CopyIn:
		s.piece.Data, s.piece.DataEnd = end, end
		s.end(CopyIn, end)
	default:
		s.end(Statement, end)
	}
}
