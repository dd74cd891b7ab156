package doctor

import (
	"fmt"
	"strings"
	"time"
)

// count is "1 session" or "2 sessions".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// application names who connected: a program and its machine.
func application(app, host string) string {
	if host == "" {
		host = "this machine"
	}
	if app == "" {
		return "sessions from " + host
	}
	return fmt.Sprintf("%s from %s", app, host)
}

// literal is text as SQL has it.
func literal(s string) string {
	quoted := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return "E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// Shell is text as a word of the shell.
func Shell(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=,@") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// age says a duration in its largest units.
func age(d time.Duration) string {
	switch {
	case d < time.Second:
		return "less than a second"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// aged is a warning from a threshold on, and an error at twelve times it.
func aged(d, threshold time.Duration) Severity {
	if d >= 12*threshold {
		return Error
	}
	return Warning
}

// used is a warning from a percentage on, and an error at 95.
func used(percent float64) Severity {
	if percent >= 95 {
		return Error
	}
	return Warning
}

// command is one that works on the database.
func (l *look) command(text string) string { return strings.TrimSuffix(text+" "+l.o.Flags, " ") }
