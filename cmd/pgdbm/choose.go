package main

import (
	"fmt"
	"strings"

	"charm.land/huh/v2"
	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/choose"
)

// chooseFlags are the answers as words.
type chooseFlags struct {
	building, importedBy, processes, database string
	services                                  int
	tenants                                   bool
	seen                                      []string
}

var answerFlags = []string{"building", "imported-by", "services", "processes", "tenants", "database", "seen"}

func newChoose() *cobra.Command {
	var flags chooseFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "choose [FOLDER]",
		Short: "Choose the pattern that fits: standalone, shared pool or dual-mode",
		Long: `choose says which of the three patterns fits, why, and what speaks against the
others.

With a folder it reads the Go project there, without building it: its programs,
the modules and pools of each, whether its packages can be imported, containers,
tenants. Without one it takes the flags; what they leave open it takes for
granted and says so. Without flags it asks, if it is on a terminal and CI is not
set.

A program with several databases decides for each of them.`,
		Example: `  pgdbm choose
  pgdbm choose ./myproject
  pgdbm choose --building program --services 3
  pgdbm choose --building worker --processes each --json`,
		Args: maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			answer, err := chooseAnswer(cmd, args, flags)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return writeJSON(out, answer)
			}
			return answer.WriteText(colorOf(cmd).writer(out))
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.building, "building", "", "what you build: "+choose.Join(choose.Buildings, ", "))
	f.StringVar(&flags.importedBy, "imported-by", "", "who imports the code: "+choose.Join(choose.ImportersAll, ", "))
	f.IntVar(&flags.services, "services", 0, "how many services or modules use the database")
	f.StringVar(&flags.processes, "processes", "", "one for all, or each its own (a worker: one is\nas goroutines of its program)")
	f.BoolVar(&flags.tenants, "tenants", false, "tenants' data is kept apart, in a schema each")
	f.StringVar(&flags.database, "database", "", "own, or shared with other processes")
	f.StringSliceVar(&flags.seen, "seen", nil, "what you have seen: opens (several pools to one\ndatabase), warning (\"Creating another connection\npool\"), max-connections (reached), readme (it says\nimport me)")
	f.BoolVar(&asJSON, "json", false, "print the answer as one JSON object")
	for name, words := range map[string][]string{
		"building":    strings.Split(choose.Join(choose.Buildings, ","), ","),
		"imported-by": strings.Split(choose.Join(choose.ImportersAll, ","), ","),
		"processes":   strings.Split(choose.Join(choose.ProcessesAll, ","), ","),
		"database":    strings.Split(choose.Join(choose.Databases, ","), ","),
		"seen":        strings.Split(choose.Join(choose.Signs, ","), ","),
	} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	return cmd
}

func chooseAnswer(cmd *cobra.Command, args []string, flags chooseFlags) (choose.Answer, error) {
	given := false
	for _, name := range answerFlags {
		given = given || cmd.Flags().Changed(name)
	}
	switch {
	case len(args) == 1 && given:
		return choose.Answer{}, usageError{fmt.Errorf("a folder or flags, not both")}
	case len(args) == 1:
		p, err := choose.Analyze(args[0])
		if err != nil {
			return choose.Answer{}, fmt.Errorf("choose: %w", err)
		}
		return p.Answer(), nil
	case given:
		c, err := flags.context(cmd)
		return choose.Decide(c), err
	case !mayAsk(cmd):
		return choose.Answer{}, usageError{fmt.Errorf(
			"choose: nobody to ask: give a folder, or some of --%s", strings.Join(answerFlags, ", --"))}
	}
	c, err := askContext(cmd)
	return choose.Decide(c), err
}

// context is what the flags say.
func (f chooseFlags) context(cmd *cobra.Command) (choose.Context, error) {
	c := choose.Context{Services: f.services}
	var err error
	word := func(name string, set func() error) {
		if e := set(); e != nil && err == nil && cmd.Flags().Changed(name) {
			err = usageError{fmt.Errorf("--%s: %w", name, e)}
		}
	}
	word("building", func() (e error) { c.Building, e = choose.Parse(choose.Buildings, f.building); return })
	word("imported-by", func() (e error) { c.ImportedBy, e = choose.Parse(choose.ImportersAll, f.importedBy); return })
	word("processes", func() (e error) { c.Processes, e = choose.Parse(choose.ProcessesAll, f.processes); return })
	word("database", func() (e error) { c.Database, e = choose.Parse(choose.Databases, f.database); return })
	for _, s := range f.seen {
		word("seen", func() error {
			sign, e := choose.Parse(choose.Signs, s)
			c.Seen = append(c.Seen, sign)
			return e
		})
	}
	if cmd.Flags().Changed("services") && f.services < 1 {
		err = usageError{fmt.Errorf("--services: %d is less than 1", f.services)}
	}
	if cmd.Flags().Changed("tenants") {
		c.Tenants = &f.tenants
	}
	return c, err
}

// askContext asks what a person can say in half a minute.
func askContext(cmd *cobra.Command) (choose.Context, error) {
	c := choose.Context{Building: choose.Program, ImportedBy: choose.Nobody, Services: 1, Processes: choose.OneProcess, Database: choose.OwnDatabase}
	several, tenants := false, false
	is := func(b choose.Building) func() bool { return func() bool { return c.Building == b } }
	importers, worker := choose.Several, choose.EachItsOwn
	yesNo := func(title, description string, value *bool) huh.Field {
		return huh.NewSelect[bool]().Title(title).Description(description).Value(value).
			Options(huh.NewOption("No", false), huh.NewOption("Yes", true))
	}
	err := ask(cmd, []question{
		{field: huh.NewSelect[choose.Building]().Title("What are you building?").Value(&c.Building).Options(
			huh.NewOption("A program: a service, an application", choose.Program),
			huh.NewOption("A background worker of a program", choose.Worker),
			huh.NewOption("A package that programs import", choose.Package))},
		{when: is(choose.Package), field: huh.NewSelect[choose.Importers]().Title("Who imports it?").Value(&importers).Options(
			huh.NewOption("One application", choose.One),
			huh.NewOption("Several applications, ours", choose.Several),
			huh.NewOption("Anyone: it is published", choose.Anyone))},
		{when: is(choose.Worker), field: huh.NewSelect[choose.Process]().Title("Where does the worker run?").Value(&worker).Options(
			huh.NewOption("In a process or container of its own", choose.EachItsOwn),
			huh.NewOption("As goroutines of its program", choose.OneProcess))},
		{when: func() bool {
			return c.Building == choose.Program || c.Building == choose.Package && importers == choose.One
		},
			field: yesNo("Do several services or modules use the database?", "Users, orders, billing: parts with tables of their own.", &several)},
		{when: func() bool { return c.Building == choose.Program && several },
			field: huh.NewSelect[choose.Process]().Title("How do they run?").Value(&c.Processes).Options(
				huh.NewOption("All in one process", choose.OneProcess),
				huh.NewOption("Each in a process or container of its own", choose.EachItsOwn))},
		{when: func() bool { return c.Building != choose.Package || importers == choose.One },
			field: yesNo("Are there tenants whose data is kept apart?", "Each gets a schema of its own.", &tenants)},
		{when: func() bool {
			alone := !several || c.Processes == choose.EachItsOwn
			return !tenants && (c.Building == choose.Program && alone || c.Building == choose.Worker && worker == choose.EachItsOwn)
		},
			field: huh.NewSelect[choose.Database]().Title("Who uses the database?").Value(&c.Database).Options(
				huh.NewOption("Only this", choose.OwnDatabase),
				huh.NewOption("Other processes too", choose.SharedDatabase))},
	})
	switch {
	case c.Building == choose.Package:
		c.ImportedBy = importers
	case c.Building == choose.Worker:
		c.Processes = worker
	}
	switch {
	case several:
		c.Services = choose.Many
	case c.Building == choose.Worker && worker == choose.OneProcess:
		c.Services = 2 // the program and its worker
	}
	c.Tenants = &tenants
	return c, err
}
