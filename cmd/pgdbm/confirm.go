package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// consent are the flags of commands that destroy data.
type consent struct {
	yes  bool
	name string
}

func (c *consent) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&c.yes, "yes", false, "do not ask; not enough in production")
	cmd.Flags().StringVar(&c.name, "confirm", "", "agree by the `name` of the environment")
}

// given reports whether a flag agrees: in production with the environment's name,
// elsewhere with yes. Where it does not and nobody can be asked, that is an error,
// for commands that say so before they connect.
func (c *consent) given(cmd *cobra.Command, p *place) (bool, error) {
	production := p.production()
	environment := production
	if environment == "" && p.env != nil {
		environment = p.env.Name
	}
	switch {
	case c.name != "" && environment == "":
		return false, usageError{errors.New("--confirm: there is no environment; --yes is enough")}
	case c.name != "" && c.name != environment:
		return false, usageError{fmt.Errorf("--confirm: %s, and the environment is %s", c.name, environment)}
	case c.name != "", production == "" && c.yes:
		return true, nil
	case mayAsk(cmd):
		return false, nil
	case production != "":
		err := fmt.Errorf("--confirm %s: required, as environment %[1]s is production", production)
		if p.env == nil || p.env.Name != production {
			err = fmt.Errorf("%w, and its database is that of %s", err, p.source)
		}
		return false, usageError{err}
	}
	return false, usageError{errors.New("--yes: required where nobody can be asked")}
}

// ask returns nil when the user agrees, by a flag or on a terminal: in production
// by the environment's name, elsewhere by yes. Where nobody can be asked, a flag
// is required.
func (c *consent) ask(cmd *cobra.Command, p *place, question string) error {
	if given, err := c.given(cmd, p); err != nil || given {
		return err
	}
	production := p.production()
	want, prompt := []string{"y", "yes"}, "[y/N]"
	if production != "" {
		want, prompt = []string{production}, fmt.Sprintf("This is production: type %s to go on:", production)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s\n%s %s ", p.describe(), question, prompt)
	answer, err := untilInterrupted(cmd.Context(), func() (string, error) {
		return bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	})
	if err != nil {
		return errAborted
	}
	answer = strings.TrimSpace(answer)
	for _, w := range want {
		if answer == w || production == "" && strings.EqualFold(answer, w) {
			return nil
		}
	}
	return codedError{exitFailed, errors.New("not done, as you did not agree")}
}

// untilInterrupted reads from the input, which nothing can make return: when ctx
// ends, read stays behind, and the process with it.
func untilInterrupted[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		value, err := read()
		done <- answer{value, err}
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
