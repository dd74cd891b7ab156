package choose

import (
	"fmt"
	"io"
	"path"
	"strings"
)

const width = 80

// WriteText writes a for people, in 80 columns, with headings in bold if
// colour is set.
func (a Answer) WriteText(w io.Writer, colour bool) error {
	p := sheet{colour: colour}
	if a.Project != nil {
		p.project(a.Project)
	}
	p.head("Pattern: " + string(a.Pattern))
	for _, why := range a.Why {
		p.item("- ", why)
	}
	p.head("Why not the others")
	for _, pattern := range Patterns {
		if text := a.Not[pattern]; text != "" {
			p.item("- "+string(pattern)+": ", text)
		}
	}
	p.head("Red flags")
	if len(a.RedFlags) == 0 {
		p.item("- ", "None seen. Look for: several Opens to one database; the warning "+
			`"Creating another connection pool" in the log; max_connections reached; a README that says import me.`)
	}
	for _, f := range a.RedFlags {
		p.item("! ", f.Sign+". "+f.Do)
		p.places(f.Places)
	}
	p.head("Check yourself")
	for _, c := range a.SelfCheck {
		p.item("- ", c.Question+" "+c.Reply+".")
	}
	p.table(a)
	if len(a.Assumed) > 0 {
		p.head("Taken for granted")
		for _, text := range a.Assumed {
			p.item("- ", text)
		}
	}
	p.head("Next")
	p.item("  ", a.Next.Command)
	p.item("  ", "pgdbm docs "+strings.TrimSuffix(path.Base(a.Next.Page), ".md")+" prints "+a.Next.Page)
	_, err := io.WriteString(w, p.String())
	return err
}

// sheet collects the text.
type sheet struct {
	strings.Builder
	colour bool
}

func (p *sheet) head(text string) {
	if p.Len() > 0 {
		p.WriteByte('\n')
	}
	if p.colour {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	p.WriteString(text + "\n")
}

// item writes a paragraph that hangs on mark.
func (p *sheet) item(mark, text string) {
	line := "  " + mark
	indent := strings.Repeat(" ", 4)
	first := true
	for _, word := range strings.Fields(text) {
		if !first && len([]rune(line))+1+len([]rune(word)) > width {
			p.WriteString(line + "\n")
			line, first = indent, true
		}
		if !first {
			line += " "
		}
		line += word
		first = false
	}
	p.WriteString(line + "\n")
}

func (p *sheet) places(places []string) {
	for _, place := range places {
		p.WriteString("      " + place + "\n")
	}
}

func (p *sheet) table(a Answer) {
	p.head("The three side by side")
	row := func(name string, cell func(Comparison) string) {
		fmt.Fprintf(p, "  %-12s", name)
		line := ""
		for _, pattern := range Patterns {
			line += fmt.Sprintf("%-19s ", cell(a.Comparison[pattern]))
		}
		p.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	fmt.Fprintf(p, "  %-12s%-19s %-19s %s\n", "", Standalone, SharedPool, DualMode)
	row("complexity", func(c Comparison) string { return c.Complexity })
	row("flexibility", func(c Comparison) string { return c.Flexibility })
	row("connections", func(c Comparison) string { return c.Connections })
	row("pool", func(c Comparison) string { return c.Pool })
	row("migrations", func(c Comparison) string { return c.Migrations })
	row("best for", func(c Comparison) string { return c.BestFor })
}
