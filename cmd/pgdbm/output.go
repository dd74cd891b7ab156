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

	belowIndent = "          " // of a cell that has a line of its own: the narrowest column's
)

// writeTable writes rows under a head, which may be nil, in columns. Cells of a
// table that would be too wide go on in the next line, at a space if they have
// one, so that nothing is cut off. What people copy stays whole though: the first
// column, which names the row, and a word of the last one, such as a URL. They get a
// line of their own then; what is too wide for that stands out. So does what is in
// the columns whole.
func writeTable(w io.Writer, head []string, rows [][]string, whole ...int) error {
	if head != nil {
		rows = append([][]string{head}, rows...)
	}
	rows = onOneLine(rows)
	names := make([]string, len(rows)) // those that have a line of their own
	widths, fits := tableWidths(rows, whole)
	if !fits && len(widths) > 1 && widths[0] > narrowest {
		short := make([][]string, len(rows))
		for i, row := range rows {
			short[i] = slices.Clone(row)
			if len(row) > 1 && utf8.RuneCountInString(row[0]) > narrowest {
				names[i], short[i][0] = row[0], ""
			}
		}
		rows = short
		widths, _ = tableWidths(rows, whole)
	}
	var out strings.Builder
	for i, row := range rows {
		if names[i] != "" {
			out.WriteString(names[i] + "\n")
		}
		below := "" // the last cell, if it has a line of its own
		if end := len(row) - 1; end > 0 && end == len(widths)-1 {
			if word := longestWord(row[end]); word > widths[end] && word <= columns-len(belowIndent) {
				row, below = row[:end], row[end]
			}
		}
		cells, height := make([][]string, len(row)), 1
		for i, cell := range row {
			if i == len(row)-1 && below == "" {
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
		if below != "" {
			for _, line := range foldAtSpaces(below, columns-len(belowIndent)) {
				out.WriteString(belowIndent + line + "\n")
			}
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// tableWidths are the widths of a table's columns, and whether nothing stands out:
// the longest word of the last column keeps its place if the others can give it.
func tableWidths(rows [][]string, whole []int) (widths []int, fits bool) {
	last, word := 0, 0
	for _, row := range rows {
		last = max(last, len(row)-1)
	}
	for _, row := range rows {
		if len(row) > last {
			word = max(word, longestWord(row[last]))
		}
	}
	mayShrink := []int{last}
	for i := 1; i < last; i++ {
		if !slices.Contains(whole, i) {
			mayShrink = append(mayShrink, i)
		}
	}
	for _, least := range []map[int]int{{last: word}, nil} {
		widths = columnWidths(rows, utf8.RuneCountInString, mayShrink, least)
		if fits = totalWidth(widths) <= columns; fits {
			return widths, len(widths) == 0 || word <= widths[last]
		}
	}
	return widths, false
}

func longestWord(text string) (width int) {
	for _, word := range strings.Fields(text) {
		width = max(width, utf8.RuneCountInString(word))
	}
	return width
}

func totalWidth(widths []int) int {
	total := betweenColumns * (len(widths) - 1)
	for _, width := range widths {
		total += width
	}
	return total
}

// onOneLine escapes what would leave a cell.
func onOneLine(rows [][]string) [][]string {
	out := make([][]string, len(rows))
	for i, row := range rows {
		for _, cell := range row {
			out[i] = append(out[i], escaped(cell, ""))
		}
	}
	return out
}

// columnWidths are the widths that the cells need, measured by width; the widest of
// the columns mayShrink is reduced until all fit, the first of those that are alike,
// and none below what least says, or narrowest.
func columnWidths(rows [][]string, width func(string) int, mayShrink []int, least map[int]int) []int {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(cell))
		}
	}
	total := totalWidth(widths)
	room := func(column int) int { return widths[column] - max(least[column], narrowest) }
	for ; total > columns; total-- {
		shrinks := slices.DeleteFunc(slices.Clone(mayShrink), func(column int) bool { return room(column) <= 0 })
		if len(shrinks) == 0 {
			break
		}
		widths[slices.MaxFunc(shrinks, func(a, b int) int { return widths[a] - widths[b] })]--
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

// sizeText says bytes as the server does: whole kB, and MB from ten on.
func sizeText(bytes int64) string {
	if bytes < 10<<20 {
		return fmt.Sprintf("%d kB", (bytes+512)>>10)
	}
	return fmt.Sprintf("%.1f MB", float64(bytes)/(1<<20))
}

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
