package sqltemplate

// statement follows the tokens of one statement as far as it takes to find its end, and to know a COPY that reads rows
// from the text after it. The zero value is a statement that has not begun.
type statement struct {
	words  int  // tokens so far, as long as they may make a head that matters
	head   head // what those tokens are
	depth  int  // open parentheses; in them a ; separates the actions of a rule
	body   bool // between BEGIN ATOMIC and its END
	copyIn bool // COPY ... FROM STDIN
	last   word // the token before
}

// head is how a statement begins.
type head uint8

const (
	otherHead    head = iota
	createHead        // CREATE
	createOrHead      // CREATE OR
	replaceHead       // CREATE OR REPLACE
	routineHead       // CREATE [OR REPLACE] {FUNCTION | PROCEDURE}
	copyHead          // COPY
)

// word is a token as far as the end of a statement depends on it.
type word uint8

const (
	otherWord word = iota
	atomicWord
	beginWord
	copyWord
	createWord
	endWord
	fromWord
	functionWord
	orWord
	procedureWord
	replaceWord
	stdinWord
	semicolonWord
)

var words = map[string]word{
	"atomic": atomicWord, "begin": beginWord, "copy": copyWord, "create": createWord, "end": endWord,
	"from": fromWord, "function": functionWord, "or": orWord, "procedure": procedureWord, "replace": replaceWord,
	// The grammar takes either word for either direction.
	"stdin": stdinWord, "stdout": stdinWord,
}

const longestWord = len("procedure")

// wordOf returns the word that an identifier is. Only ASCII letters fold, as in PostgreSQL's table of keywords.
func wordOf(text string) word {
	if len(text) > longestWord {
		return otherWord
	}
	var buf [longestWord]byte
	for i := range len(text) {
		buf[i] = lower(text[i])
	}
	return words[string(buf[:len(text)])]
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// add takes the next token of the statement and reports whether it ends it. Blank tokens must be left out.
func (s *statement) add(src string, tok Token) (ends bool) {
	w := otherWord
	switch tok.Kind {
	case Semicolon:
		w = semicolonWord
	case Ident:
		w = wordOf(src[tok.Start:tok.End])
	case Punct:
		switch src[tok.Start] {
		case '(':
			s.depth++
		case ')':
			s.depth = max(0, s.depth-1)
		}
	}
	s.begin(w)
	if s.depth == 0 {
		ends = s.top(w)
	}
	s.last = w
	return ends
}

// begin follows the first tokens of the statement.
func (s *statement) begin(w word) {
	s.words++
	switch {
	case s.words == 1 && w == createWord:
		s.head = createHead
	case s.words == 1 && w == copyWord:
		s.head = copyHead
	case s.head == createHead && w == orWord && s.words == 2:
		s.head = createOrHead
	case s.head == createOrHead && w == replaceWord && s.words == 3:
		s.head = replaceHead
	case s.head == createHead && s.words == 2 || s.head == replaceHead && s.words == 4:
		if w == functionWord || w == procedureWord {
			s.head = routineHead
		}
	}
}

// top takes a token outside of parentheses and reports whether it ends the statement.
//
// In a body only an END where a statement could begin is the body's own; every other one ends a CASE or is the name of
// a column, which may be END without AS. CASE need not be counted: a ; never stands inside one.
func (s *statement) top(w word) (ends bool) {
	switch {
	case s.body:
		s.body = w != endWord || s.last != semicolonWord && s.last != atomicWord
	case w == semicolonWord:
		return true
	case s.head == routineHead && s.last == beginWord && w == atomicWord:
		s.body = true
	case s.head == copyHead && s.last == fromWord && w == stdinWord:
		s.copyIn = true
	}
	return false
}
