package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// jsonVersion is the number of the shape of what --json prints. It grows when a
// field goes or changes its meaning, not when one is added.
const jsonVersion = 1

// writeJSON writes what --json of a command prints: one object, the command's
// own fields after the version.
func writeJSON(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, fmt.Appendf(nil, `{"version":%d,%s`, jsonVersion, text[1:]), "", "  "); err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, out.String())
	return err
}

// columns is how wide a line of output may be.
const columns = 80

const (
	narrowest      = 8 // columns of a table are made no narrower to fit
	betweenColumns = 2
)

// writeTable writes rows under a head, which may be nil, in columns. Cells of a
// table that would be too wide go on in the next line, at a space if they have
// one, so that nothing is cut off. What people copy stays whole though: the first
// column, which names the row, and a word of the last one, such as a URL, which
// may stand out.
func writeTable(w io.Writer, head []string, rows [][]string) error {
	if head != nil {
		rows = append([][]string{head}, rows...)
	}
	last := 0
	for _, row := range rows {
		last = max(last, len(row)-1)
	}
	mayShrink := []int{last}
	for i := 1; i < last; i++ {
		mayShrink = append(mayShrink, i)
	}
	widths := columnWidths(rows, utf8.RuneCountInString, mayShrink)
	var out strings.Builder
	for _, row := range rows {
		cells, height := make([][]string, len(row)), 1
		for i, cell := range row {
			if i == len(row)-1 {
				cells[i] = foldAtSpaces(cell, widths[i])
			} else {
				cells[i] = fold(cell, widths[i])
			}
			height = max(height, len(cells[i]))
		}
		for n := range height {
			var line strings.Builder
			for i := range cells {
				text := ""
				if n < len(cells[i]) {
					text = cells[i][n]
				}
				fmt.Fprintf(&line, "%-*s  ", widths[i], text)
			}
			out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// columnWidths are the widths that the cells need, measured by width; the widest of
// the columns mayShrink is reduced until all fit, the first of those that are alike.
func columnWidths(rows [][]string, width func(string) int, mayShrink []int) []int {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(cell))
		}
	}
	total := betweenColumns * (len(widths) - 1)
	for _, width := range widths {
		total += width
	}
	for ; total > columns; total-- {
		widest := slices.MaxFunc(mayShrink, func(a, b int) int { return widths[a] - widths[b] })
		if widths[widest] <= narrowest {
			break
		}
		widths[widest]--
	}
	return widths
}

// foldAtSpaces is fold for text whose words stay whole.
func foldAtSpaces(text string, width int) []string {
	return wrap(strings.Fields(text), width, nil)
}

// wrap puts words into lines of a width, and begins a line also where breaks says
// so of the line before and the word.
func wrap(words []string, width int, breaks func(line, word string) bool) (lines []string) {
	line := ""
	for _, word := range words {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width, breaks != nil && breaks(line, word):
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// fold cuts a text into lines.
func fold(text string, width int) (lines []string) {
	runes := []rune(text)
	for len(runes) > width {
		end, next := width, width
		for i := width; i > 0; i-- {
			if runes[i] == ' ' {
				end, next = i, i+1
				break
			}
		}
		lines = append(lines, string(runes[:end]))
		runes = runes[next:]
	}
	return append(lines, string(runes))
}

// since says how long ago something was, in its largest unit.
func since(t time.Time) string {
	d := time.Since(t)
	switch {
	case t.IsZero():
		return "-"
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/(1<<20)) }

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
