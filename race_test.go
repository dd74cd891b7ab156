//go:build race

package pgdbm_test

const raceDetector = true
