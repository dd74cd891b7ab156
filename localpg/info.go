package localpg

import (
	"encoding/json"
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
