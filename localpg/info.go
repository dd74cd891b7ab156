package localpg

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// runInfo is what the file "info" of a run's directory tells other processes.
type runInfo struct {
	Key      string    `json:"key,omitempty"` // of a shared server: who has the same may join
	Store    string    `json:"store"`
	BinDir   string    `json:"bin_dir"`
	Version  string    `json:"version"`
	Port     int       `json:"port"`
	Password string    `json:"password,omitempty"` // the directory is private
	Durable  bool      `json:"durable,omitempty"`
	Started  time.Time `json:"started"`
}

func (i runInfo) encode() string {
	text, err := json.Marshal(i)
	if err != nil {
		panic(err) // its fields cannot fail
	}
	return string(text)
}

func readInfo(run string) (i runInfo, err error) {
	text, err := os.ReadFile(filepath.Join(run, "info"))
	if err == nil {
		err = json.Unmarshal(text, &i)
	}
	return i, err
}
