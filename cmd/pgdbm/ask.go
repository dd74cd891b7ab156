package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"charm.land/huh/v2"
	"github.com/spf13/cobra"
)

// errAborted is what a form returns when its user leaves it.
var errAborted = errors.New("aborted")

// question is a field of a form and when it is asked.
type question struct {
	field huh.Field
	when  func() bool // nil: always
}

// ask puts questions on the terminal, those that apply after the answers before
// them. With colour off it prompts line by line, as a screen reader needs it.
func ask(cmd *cobra.Command, questions []question) error {
	in, out := cmd.InOrStdin(), raw(cmd.OutOrStdout())
	if !colorOf(cmd).enabled(out) {
		return askPlainly(cmd.Context(), in, out, questions)
	}
	groups := make([]*huh.Group, len(questions))
	for i, q := range questions {
		groups[i] = huh.NewGroup(q.field)
		if q.when != nil {
			groups[i].WithHideFunc(func() bool { return !q.when() })
		}
	}
	err := huh.NewForm(groups...).WithTheme(huh.ThemeFunc(huh.ThemeCharm)).WithInput(in).WithOutput(out).RunWithContext(cmd.Context())
	if errors.Is(err, huh.ErrUserAborted) {
		return errAborted
	}
	return err
}

// askPlainly runs one prompt after the other. A read from the terminal cannot be
// interrupted, so it stays behind when ctx ends, and the process with it.
func askPlainly(ctx context.Context, in io.Reader, out io.Writer, questions []question) error {
	input := &lines{r: in}
	done := make(chan error, 1)
	go func() {
		for _, q := range questions {
			if q.when != nil && !q.when() {
				continue
			}
			err := huh.NewForm(huh.NewGroup(q.field)).WithTheme(huh.ThemeFunc(huh.ThemeBase)).
				WithAccessible(true).WithInput(input).WithOutput(out).Run()
			if err == nil && input.ended {
				err = fmt.Errorf("input ended before all questions were answered")
			}
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lines reads a byte at a time, so that a prompt's buffer does not swallow the
// answers to those after it, and remembers whether the input has ended.
type lines struct {
	r     io.Reader
	ended bool
}

func (l *lines) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := l.r.Read(p[:1])
	l.ended = l.ended || err != nil
	return n, err
}
