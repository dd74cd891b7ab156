package main

import (
	"slices"
	"time"
)

// median returns the middle of values, which it sorts.
func median[T int | float64 | time.Duration](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}

// percentile returns the value that p percent of values do not exceed. It sorts
// them.
func percentile(values []time.Duration, p int) time.Duration {
	slices.Sort(values)
	return values[min(len(values)-1, len(values)*p/100)]
}

// interleave times ours and peer in turn, n times each, changing which goes
// first, and returns the medians.
func interleave(n int, ours, peer func() error) (o, p time.Duration, err error) {
	return interleaveWith(n, func() error { return nil }, ours, peer)
}

// interleaveWith is interleave with something to do before each round, which is
// not timed.
func interleaveWith(n int, before, ours, peer func() error) (o, p time.Duration, err error) {
	os, ps := make([]time.Duration, 0, n), make([]time.Duration, 0, n)
	timed := func(f func() error, to *[]time.Duration) error {
		start := time.Now()
		err := f()
		*to = append(*to, time.Since(start))
		return err
	}
	for i := range n {
		if err := before(); err != nil {
			return 0, 0, err
		}
		first, second := func() error { return timed(ours, &os) }, func() error { return timed(peer, &ps) }
		if i%2 == 1 {
			first, second = second, first
		}
		if err := first(); err != nil {
			return 0, 0, err
		}
		if err := second(); err != nil {
			return 0, 0, err
		}
	}
	return median(os), median(ps), nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
