package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/doctor"
)

// gutter is the width of the column of severities.
const gutter = len("SEVERITY") + 2

var severityColors = map[doctor.Severity]string{doctor.Error: "\x1b[31m", doctor.Warning: "\x1b[33m"}

// writeDoctor writes findings below each other: what and where in columns, what can
// be pasted in lines of its own. Of those that differ by their schema only it
// shows the first.
func writeDoctor(out io.Writer, r *doctor.Report, j doctorJSON, colored bool) error {
	var b strings.Builder
	type kind struct {
		code, kind string
		severity   doctor.Severity
	}
	like, shown := make(map[kind]int), make(map[kind]bool)
	width := 0
	for _, f := range r.Findings {
		like[kind{f.Code, f.Kind, f.Severity}]++
		width = max(width, len(f.Code))
	}
	if len(r.Findings) > 0 {
		fmt.Fprintf(&b, "%-*s%-*s  WHERE\n", gutter, "SEVERITY", width, "CODE")
	}
	for _, f := range r.Findings {
		k := kind{f.Code, f.Kind, f.Severity}
		if f.Kind != "" && shown[k] {
			continue
		}
		shown[k] = true
		severity := fmt.Sprintf("%-*s", gutter, f.Severity)
		if color := severityColors[f.Severity]; colored && color != "" {
			severity = color + severity + "\x1b[0m"
		}
		for i, line := range fold(strings.TrimSpace(printable(f.Where)), max(columns-gutter-width-2, 20)) {
			if i == 0 {
				fmt.Fprintf(&b, "%s%-*s  %s\n", severity, width, f.Code, line)
			} else {
				fmt.Fprintf(&b, "%*s%s\n", gutter+width+2, "", line)
			}
		}
		indented(&b, "", fold(printable(f.What), columns-gutter))
		if n := like[k] - 1; f.Kind != "" && n > 0 {
			indented(&b, "", fold(fmt.Sprintf("and %d more like it, which --json lists", n), columns-gutter))
		}
		var sql []string
		for _, statement := range f.Fix.SQL {
			sql = append(sql, foldSQL(statement, columns-gutter)...)
		}
		indented(&b, "SQL", sql)
		indented(&b, "run", foldCommand(f.Fix.Command, columns-gutter))
	}
	var why []string // each reason once, with all codes
	codes := make(map[string][]string)
	for _, s := range j.Skipped {
		if codes[s.Error] == nil {
			why = append(why, s.Error)
		}
		codes[s.Error] = append(codes[s.Error], s.Codes...)
	}
	for _, reason := range why {
		for i, line := range fold(printable(fmt.Sprintf("not looked for: %s: %s", strings.Join(codes[reason], ", "), reason)), columns-2) {
			if i > 0 {
				line = "  " + line
			}
			b.WriteString(line + "\n")
		}
	}
	fmt.Fprintf(&b, "database %s: %s\n", printable(r.Database), j.summary())
	_, err := io.WriteString(out, b.String())
	return err
}

// indented writes lines behind the gutter, which has the label of the first.
func indented(b *strings.Builder, label string, lines []string) {
	for _, line := range lines {
		if line != "" {
			fmt.Fprintf(b, "%*s  %s\n", gutter-2, label, line)
		}
		label = ""
	}
}

// printable keeps names from moving the cursor, and texts in their line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// foldSQL puts each statement on lines of its own, and breaks long ones where a
// break means what a space does: neither in quotes nor in a comment.
func foldSQL(sql string, width int) []string {
	return wrap(splitQuoted(sql), width, func(line, word string) bool {
		return strings.HasSuffix(line, ";") && !strings.HasPrefix(word, "--")
	})
}

// foldCommand breaks a command of the shell, which goes on behind a backslash.
func foldCommand(command string, width int) []string {
	lines := wrap(splitQuoted(command), width-2, nil)
	for i := range lines[:len(lines)-1] {
		lines[i] += ` \`
	}
	return lines
}

// splitQuoted splits a text at its spaces, but for those in quotes and behind --
// that stands by itself.
func splitQuoted(text string) (words []string) {
	var quote rune
	start := 0
	for i, r := range text {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"':
			quote = r
		case r == ' ':
			if i > start {
				words = append(words, text[start:i])
			}
			start = i + 1
			if strings.HasPrefix(text[start:], "-- ") {
				return append(words, text[start:])
			}
		}
	}
	return append(words, text[start:])
}
