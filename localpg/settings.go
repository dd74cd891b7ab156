package localpg

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// fixed are the settings that the server's URL and clean-up rely on.
var fixed = []string{"data_directory", "listen_addresses", "port", "unix_socket_directories"}

// hba lets in everybody who can reach the socket, whose directory is private,
// and asks for passwords on TCP, which other users of the machine reach too.
const hba = `local all all trust
local replication all trust
host all all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
`

func checkSettings(settings map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		switch {
		case !settingName.MatchString(name):
			return fmt.Errorf("localpg: setting %q: not a parameter's name", name)
		case slices.Contains(fixed, strings.ToLower(name)):
			return fmt.Errorf("localpg: setting %q: fixed by this package", name)
		case strings.ContainsRune(settings[name], 0):
			return fmt.Errorf("localpg: setting %q: value has a NUL byte", name)
		}
	}
	return nil
}

// config returns what is appended to postgresql.conf; of two lines for one
// parameter the later counts.
func config(o Options, socketDir string, port int) string {
	ours := map[string]string{
		"dynamic_shared_memory_type": "mmap", // kept in the data directory, so removed with it
		"jit":                        "off",
		"listen_addresses":           "",
		"log_checkpoints":            "off",
		"log_timezone":               "UTC",
		"logging_collector":          "off",
		"max_connections":            "300", // parallel tests, a small pool each
		"port":                       strconv.Itoa(port),
		"shared_buffers":             "64MB",
		"timezone":                   "UTC",
		"unix_socket_directories":    socketDir,
	}
	if o.TCP {
		ours["listen_addresses"] = "127.0.0.1"
	}
	if !o.Durable {
		for _, name := range []string{"autovacuum", "fsync", "full_page_writes", "synchronous_commit"} {
			ours[name] = "off"
		}
	}
	var b strings.Builder
	for _, settings := range []map[string]string{ours, o.Settings} {
		for _, name := range slices.Sorted(maps.Keys(settings)) {
			fmt.Fprintf(&b, "%s = %s\n", name, quoteSetting(settings[name]))
		}
	}
	return b.String()
}

var settingEscapes = strings.NewReplacer(`'`, `''`, `\`, `\\`, "\n", `\n`, "\r", `\r`)

func quoteSetting(value string) string { return "'" + settingEscapes.Replace(value) + "'" }
