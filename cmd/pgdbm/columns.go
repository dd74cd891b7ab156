package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/clipperhouse/displaywidth"
)

// writeFitting writes rows under a head, in columns that fit the screen: texts of
// the columns mayCut are cut in the middle, the widest column's first.
func writeFitting(w io.Writer, head []string, rows [][]string, mayCut []int) error {
	all := onOneLine(append([][]string{head}, rows...))
	widths := columnWidths(all, displaywidth.String, mayCut, nil)
	for _, row := range all {
		var line strings.Builder
		for i, text := range row {
			text = cutMiddle(text, widths[i])
			line.WriteString(text + strings.Repeat(" ", widths[i]-displaywidth.String(text)+betweenColumns))
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// cutMiddle leaves of a text its beginning and its end: names that differ often
// differ there.
func cutMiddle(text string, width int) string {
	if displaywidth.String(text) <= width {
		return text
	}
	runes := []rune(text)
	left, right := (len(runes)+1)/2, len(runes)/2 // runes[:left] and the last right ones are kept
	cut := text
	for displaywidth.String(cut) > width {
		if left > right {
			left--
		} else {
			right--
		}
		cut = string(runes[:left]) + "…" + string(runes[len(runes)-right:])
	}
	return cut
}
