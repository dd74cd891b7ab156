package localpg

import (
	"os"
	"runtime"
	"strings"
)

// installHint returns the command that installs PostgreSQL on this system.
func installHint() string {
	release, _ := os.ReadFile("/etc/os-release") // Linux and some BSDs
	return installHintFor(runtime.GOOS, string(release))
}

func installHintFor(goos, osRelease string) string {
	switch goos {
	case "darwin":
		return "brew install postgresql@18"
	case "windows":
		return "winget install PostgreSQL.PostgreSQL.18"
	}
	for _, id := range systemIDs(osRelease) {
		switch id {
		case "debian", "ubuntu":
			return "apt-get install postgresql"
		case "fedora", "rhel", "centos", "amzn":
			return "dnf install postgresql-server"
		case "alpine":
			return "apk add postgresql"
		case "suse", "opensuse":
			return "zypper install postgresql-server"
		case "arch":
			return "pacman -S postgresql"
		}
	}
	return "install PostgreSQL 14 or newer and set " + binEnv + " to the folder of initdb and postgres"
}

// systemIDs returns the system's own id and then those of what it derives from.
func systemIDs(osRelease string) []string {
	var own, like []string
	for line := range strings.Lines(osRelease) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		ids := strings.Fields(strings.Trim(value, `"'`))
		switch key {
		case "ID":
			own = ids
		case "ID_LIKE":
			like = ids
		}
	}
	return append(own, like...)
}
