// Package docs holds the pages of the documentation, so that the command can show
// those that fit its version: "pgdbm docs".
package docs

import (
	"embed"
	"io/fs"
)

//go:embed *.md
var files embed.FS

// FS returns the pages, Markdown files in one folder. It is read-only.
func FS() fs.FS { return files }
