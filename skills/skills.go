// Package skills holds what coding agents should know of pgdbm, as skills in the
// form of agentskills.io: a folder each, with a file SKILL.md. The command
// "pgdbm skills" installs them. The lists of exported names in them are made from
// the doc comments: "go test ./skills -update" writes them anew.
package skills

import (
	"embed"
	"io/fs"
)

//go:embed */SKILL.md
var files embed.FS

// FS returns the folders of all skills. It is read-only.
func FS() fs.FS { return files }
