package main

import (
	"bufio"
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

// ask returns nil when the user agrees, by a flag or on a terminal: in production
// by the environment's name, elsewhere by yes. Where nobody can be asked, a flag
// is required.
func (c *consent) ask(cmd *cobra.Command, p *place, question string) error {
	production := p.production()
	if c.name != "" {
		switch {
		case p.env == nil:
			return usageError{errors.New("--confirm: there is no environment; --yes is enough")}
		case c.name != p.env.Name:
			return usageError{fmt.Errorf("--confirm: %s, and the environment is %s", c.name, p.env.Name)}
		}
		return nil
	}
	if production == "" && c.yes {
		return nil
	}
	if !mayAsk(cmd) {
		if production != "" {
			return usageError{fmt.Errorf("--confirm %s: required, as environment %s is production", production, production)}
		}
		return usageError{errors.New("--yes: required where nobody can be asked")}
	}
	want, prompt := []string{"y", "yes"}, "[y/N]"
	if production != "" {
		want, prompt = []string{production}, fmt.Sprintf("This is production: type %s to go on:", production)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s %s ", question, prompt)
	answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
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
