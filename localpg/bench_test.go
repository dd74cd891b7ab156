package localpg_test

import (
	"testing"
	"time"

	"github.com/pgdbm/pgdbm/localpg"
)

// BenchmarkStart is a new cluster and a server that answers, and its removal.
func BenchmarkStart(b *testing.B) {
	if _, err := localpg.Find(nil); err != nil {
		b.Skip(err)
	}
	var stops time.Duration
	for b.Loop() {
		s, err := localpg.Start(b.Context(), nil)
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		if err := s.Stop(b.Context()); err != nil {
			b.Fatal(err)
		}
		stops += time.Since(began)
	}
	b.ReportMetric(float64(stops.Milliseconds())/float64(b.N), "stop-ms/op")
}
