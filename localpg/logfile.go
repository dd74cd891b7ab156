package localpg

import (
	"io"
	"strings"
)

// tailBytes bounds what is read of a log.
const tailBytes = 64 << 10

// tail returns the last n lines of the server's log, or "" when it cannot be
// read.
func (p place) tail(n int) string {
	f, err := p.log()
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > tailBytes {
		f.Seek(-tailBytes, io.SeekEnd)
	}
	text, err := io.ReadAll(io.LimitReader(f, tailBytes))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-max(0, n)):], "\n")
}
