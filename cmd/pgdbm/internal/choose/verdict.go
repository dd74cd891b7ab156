package choose

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Context is what the project says about itself.
func (p *Project) Context() Context {
	if len(p.Programs) == 0 {
		return p.packageContext()
	}
	// The program with the most parts decides; the others have their own
	// pattern beside their name.
	f := slices.MaxFunc(p.Programs, func(a, b ProgramFound) int { return a.Modules - b.Modules })
	c := p.programContext(&f)
	if len(p.Readme) > 0 && len(p.Importable) > 0 {
		c.ImportedBy = Anyone
		c.Seen = append(c.Seen, ReadmeImport)
	}
	if !c.saw(ManyOpens) && slices.ContainsFunc(p.Programs, func(f ProgramFound) bool { return f.crowded() }) {
		c.Seen = append(c.Seen, ManyOpens)
	}
	return c
}

func (p *Project) programContext(f *ProgramFound) Context {
	c := Context{Building: Program, ImportedBy: Nobody, Services: f.Modules, Processes: OneProcess, Database: OwnDatabase}
	if n := max(len(p.Programs), len(p.Compose), p.images()); n > 1 {
		c.Database = SharedDatabase
		if f.Modules == 1 {
			c.Services, c.Processes = n, EachItsOwn
		}
	}
	tenants := slices.ContainsFunc(f.reach, func(pkg *goPackage) bool { return len(pkg.tenants) > 0 })
	c.Tenants = &tenants
	if f.crowded() {
		c.Seen = append(c.Seen, ManyOpens)
	}
	return c
}

// images counts the folders with a Dockerfile: several in one are ways to build
// the same.
func (p *Project) images() int {
	dirs := make(map[string]bool)
	for _, name := range p.Dockerfiles {
		dirs[path.Dir(name)] = true
	}
	return len(dirs)
}

// packageContext is for folders without a program: packages, whose importers
// are found in the rest of the project, or are unknown.
func (p *Project) packageContext() Context {
	tenants := len(p.Tenants) > 0
	c := Context{Building: Package, ImportedBy: Several, Tenants: &tenants, Database: SharedDatabase}
	if len(p.Readme) > 0 {
		c.ImportedBy = Anyone
		c.Seen = append(c.Seen, ReadmeImport)
	}
	if len(p.Importable) > 0 && (p.Subject == "." || len(p.Readme) > 0) {
		return c
	}
	importers := p.importers()
	switch {
	case len(importers) > 1:
		c.ImportedBy = Several
	case len(importers) == 1:
		c.ImportedBy, c.Services, c.Processes = One, importers[0].Modules, OneProcess
	case len(p.Importable) == 0:
		c.ImportedBy = Nobody
	}
	return c
}

// importers are the programs of the project that reach the packages in question.
func (p *Project) importers() []ProgramFound {
	var found []ProgramFound
	for _, pkg := range p.packages {
		if !pkg.main || p.aside(pkg.dir) {
			continue
		}
		f := p.program(pkg)
		if f != nil && slices.ContainsFunc(f.reach, func(r *goPackage) bool { return slices.Contains(p.subject, r) }) {
			found = append(found, *f)
		}
	}
	slices.SortFunc(found, func(a, b ProgramFound) int { return strings.Compare(a.Package, b.Package) })
	return found
}

// Answer decides for the project, with the places of what was found.
func (p *Project) Answer() Answer {
	c := p.Context()
	a := Decide(c)
	a.Project = p
	for i := range a.RedFlags {
		switch a.RedFlags[i].Sign {
		case signs[ManyOpens]:
			for _, f := range p.Programs {
				if f.crowded() {
					a.RedFlags[i].Places = merge(a.RedFlags[i].Places, openPlaces(f.opens))
				}
			}
		case signs[ReadmeImport]:
			a.RedFlags[i].Places = p.Readme
		}
	}
	if a.Pattern != DualMode && len(p.Readme) > 0 && !c.saw(ReadmeImport) {
		a.RedFlags = append(a.RedFlags, Flag{signs[ReadmeImport],
			"No package that uses the database can be imported. Change the README, or move the package out of internal.", p.Readme})
	}
	if len(p.Programs) == 0 && len(p.importers()) > 1 {
		names := make([]string, 0, 4)
		for _, f := range p.importers() {
			names = append(names, f.Package)
		}
		a.Why = append(a.Why, fmt.Sprintf("In this project %s import it.", strings.Join(names, ", ")))
	}
	a.RedFlags = append(a.RedFlags, p.ownFlags(a.Pattern)...)
	return a
}

// ownFlags are signs that only sources can show.
func (p *Project) ownFlags(pattern Pattern) []Flag {
	var perRequest, searchPath, libraryOpens []string
	for _, pkg := range p.reached() {
		perRequest = merge(perRequest, pkg.perRequest)
		searchPath = merge(searchPath, pkg.searchPath)
		if pattern == DualMode && !pkg.main {
			libraryOpens = merge(libraryOpens, openPlaces(pkg.opens))
		}
	}
	var flags []Flag
	add := func(sign, do string, places []string) {
		if len(places) > 0 {
			flags = append(flags, Flag{sign, do, places})
		}
	}
	add("a pool is opened while a request is served", "Open it once, in main.", perRequest)
	add("search_path is set in code",
		"Connections are shared, so the setting reaches somebody else's query. Name tables as {{tables.x}} and take a handle for each schema.", searchPath)
	add("a package that others import opens its own pool",
		"Take a pgdbm.Source: with a URL Attach opens the pool, with a pool it does not.", libraryOpens)
	return flags
}

// reached are the packages in question and those that its programs reach.
func (p *Project) reached() []*goPackage {
	found := slices.Clone(p.subject)
	for _, f := range p.Programs {
		for _, pkg := range f.reach {
			if !slices.Contains(found, pkg) {
				found = append(found, pkg)
			}
		}
	}
	return slices.DeleteFunc(found, func(pkg *goPackage) bool { return p.aside(pkg.dir) })
}

func openPlaces(opens []poolOpen) []string {
	places := make([]string, len(opens))
	for i, o := range opens {
		places[i] = o.place
	}
	return places
}

func merge(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

// project prints what was found.
func (p *sheet) project(found *Project) {
	name := "without a go.mod"
	switch n := len(found.Modules); {
	case n == 1:
		name = found.Modules[0]
	case n > 1:
		name = fmt.Sprintf("%s and %d more", found.Modules[0], n-1)
	}
	if found.Subject != "." {
		name += ", folder " + found.Subject
	}
	p.head("Project: " + name)
	for _, f := range found.Programs {
		where := f.Package
		if where == "." {
			where = "the root"
		}
		p.item("- ", fmt.Sprintf("program in %s: %s, %s opened; %s", where,
			count(f.Modules, "module uses the database", "modules use the database"),
			count(len(f.Pools), "pool", "pools"), f.Pattern))
		for _, o := range f.Pools {
			p.WriteString("      " + o.Place + " " + o.Call + "\n")
		}
	}
	list := func(what string, items []string) {
		if len(items) > 0 {
			p.item("- ", what+": "+strings.Join(items, ", "))
		}
	}
	list("packages that others may import", found.Importable)
	list("internal packages with SQL", found.Internal)
	list("built by compose", found.Compose)
	list("Dockerfiles", found.Dockerfiles)
	list("schemas by name, as for tenants", found.Tenants)
	list("README that says to import it", found.Readme)
	if len(found.Programs)+len(found.Importable)+len(found.Internal) == 0 {
		p.item("- ", "nothing uses PostgreSQL yet")
	}
}
