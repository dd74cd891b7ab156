package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Report is what the demo found. Its JSON shape is documented and stable.
type Report struct {
	OK          bool    `json:"ok"`
	Postgres    string  `json:"postgres"`
	Claims      []Claim `json:"claims"`
	Rows        Rows    `json:"rows"`
	Connections int     `json:"connections"` // the most that the shared pool had open, as the server counts them
	ElapsedMS   int64   `json:"elapsed_ms"`

	Answers []string `json:"-"` // what the library said about the world
}

// Claim is one promise, checked.
type Claim struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`

	took time.Duration
}

// Rows counts what the library geo loaded.
type Rows struct {
	Countries int64 `json:"countries"`
	Regions   int64 `json:"regions"`
	Airports  int64 `json:"airports"`
}

// WriteText prints the report for people, in at most 80 columns.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "pgdbm demo on a private PostgreSQL %s\n\n", r.Postgres)
	held := 0
	for _, c := range r.Claims {
		mark := "FAILED"
		if c.OK {
			mark = "ok"
			held++
		}
		fmt.Fprintf(&b, "%-6s %-64s %4d ms\n", mark, c.Name, c.took.Milliseconds())
		for _, line := range wrap(c.Detail, 72) {
			fmt.Fprintf(&b, "       %s\n", line)
		}
	}
	if len(r.Answers) > 0 {
		b.WriteString("\nWhat the library geo knows, alone and in a host alike:\n")
		for _, a := range r.Answers {
			fmt.Fprintf(&b, "       %s\n", a)
		}
	}
	fmt.Fprintf(&b, "\n%d of %d claims hold; %d airports, at most %d connections, %.1f s\n",
		held, len(r.Claims), r.Rows.Airports, r.Connections, float64(r.ElapsedMS)/1000)
	_, err := io.WriteString(w, b.String())
	return err
}

// wrap breaks text between words so that no line but one of a single long word
// is longer than width.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
