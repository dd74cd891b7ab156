package main

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/install"
	"github.com/pgdbm/pgdbm/skills"
)

func newSkills() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "skills",
		Short: "List, show or install what coding agents should know of pgdbm",
		Long: `skills are short texts for coding agents, in the form of agentskills.io. They
are part of this command, so they fit its version.`,
		Args: subcommands,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSkillsList(), newSkillsShow(), newSkillsInstall())
	return cmd
}

// skill is one of them, with what its head says.
type skill struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	text        string
}

type skillsJSON struct {
	Skills []skill `json:"skills"`
}

type installJSON struct {
	Results []install.Result `json:"results"`
}

func allSkills() ([]skill, error) {
	entries, err := fs.ReadDir(skills.FS(), ".")
	if err != nil {
		return nil, err
	}
	var all []skill
	for _, e := range entries {
		text, err := fs.ReadFile(skills.FS(), e.Name()+"/SKILL.md")
		if err != nil {
			return nil, err
		}
		s := skill{Name: e.Name(), text: string(text)}
		for line := range strings.Lines(s.text) {
			if description, ok := strings.CutPrefix(line, "description: "); ok {
				s.Description = strings.TrimSpace(description)
				break
			}
		}
		all = append(all, s)
	}
	return all, nil
}

// chosenSkills are those that are named; without names all.
func chosenSkills(names []string) ([]skill, error) {
	all, err := allSkills()
	if err != nil || len(names) == 0 {
		return all, err
	}
	var chosen []skill
	for _, name := range names {
		i := slices.IndexFunc(all, func(s skill) bool { return s.Name == name })
		if i < 0 {
			return nil, usageError{fmt.Errorf("skills: no skill %q; pgdbm skills list has them all", name)}
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func skillNames(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	all, err := allSkills()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []cobra.Completion
	for _, s := range all {
		names = append(names, s.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func newSkillsList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the skills",
		Long:    "list names the skills, each with when to use it.",
		Example: "  pgdbm skills list\n  pgdbm skills list --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := allSkills()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return writeJSON(out, skillsJSON{all})
			}
			for _, s := range all {
				if _, err := fmt.Fprintf(out, "%s\n%s\n", s.Name, indent(s.Description)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the list as one JSON object")
	return cmd
}

// indent breaks text into indented lines of at most 80 characters.
func indent(text string) string {
	var b strings.Builder
	line := "   "
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > 80 {
			b.WriteString(line + "\n")
			line = "   "
		}
		line += " " + word
	}
	return b.String() + line
}

func newSkillsShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show NAME",
		Short:             "Print a skill",
		Long:              "show prints the text of a skill, in Markdown.",
		Example:           "  pgdbm skills show choosing-pattern",
		Args:              oneName,
		ValidArgsFunction: skillNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			chosen, err := chosenSkills(args)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), chosen[0].text)
			return err
		},
	}
}

func newSkillsInstall() *cobra.Command {
	var o install.Options
	var global, asJSON bool
	cmd := &cobra.Command{
		Use:   "install [NAME...]",
		Short: "Install skills for the coding agents of a project",
		Long: `install writes skills, all of them if none is named, into .agents/skills of this
folder, or of the home folder with --global, and links them into .claude/skills.
Run again, it brings them up to date. A skill that was changed by hand is left
alone and named.`,
		Example: "  pgdbm skills install\n  pgdbm skills install choosing-pattern --global",
		Args: func(cmd *cobra.Command, args []string) error {
			_, err := chosenSkills(args)
			return err
		},
		ValidArgsFunction: skillNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			base := "."
			if global {
				home, err := os.UserHomeDir()
				if err != nil {
					return fmt.Errorf("skills install: %w", err)
				}
				base = home
			}
			chosen, err := chosenSkills(args)
			if err != nil {
				return err
			}
			return installSkills(cmd, base, chosen, o, asJSON)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&global, "global", false, "install for all projects, in the home folder")
	f.BoolVar(&o.Copy, "copy", false, "copy instead of linking")
	f.BoolVar(&o.Force, "force", false, "overwrite skills that were changed by hand")
	f.BoolVar(&asJSON, "json", false, "print what was done as one JSON object")
	return cmd
}

// installSkills installs what it can; the first that is left alone is its error.
func installSkills(cmd *cobra.Command, base string, chosen []skill, o install.Options, asJSON bool) error {
	all := []install.Result{}
	var failed error
	for _, s := range chosen {
		results, err := install.Skill(skills.FS(), base, s.Name, o)
		all = append(all, results...)
		if err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "pgdbm: skills install: %v\n", err)
			failed = fmt.Errorf("skills install: %s was left alone; --force overwrites", s.Name)
		}
	}
	out := cmd.OutOrStdout()
	if asJSON {
		if err := writeJSON(out, installJSON{all}); err != nil {
			return err
		}
		return failed
	}
	for _, r := range all {
		if _, err := fmt.Fprintf(out, "%-9s %s\n", r.State, r.Path); err != nil {
			return err
		}
	}
	return failed
}
