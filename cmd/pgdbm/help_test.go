package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// commands are all commands that people are told of.
func commands(root *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{root}
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			all = append(all, commands(c)...)
		}
	}
	return all
}

func TestEveryHelpFitsEightyColumns(t *testing.T) {
	t.Parallel()
	for _, c := range commands(newRoot()) {
		words := append(strings.Fields(c.CommandPath())[1:], "--help")
		root := newRoot()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs(words)
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if len([]rune(strings.TrimSuffix(line, "\n"))) > 80 {
				t.Errorf("%s: %q", strings.Join(words, " "), line)
			}
		}
	}
}
