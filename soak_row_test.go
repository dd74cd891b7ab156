package pgdbm_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// thing is a row of a load. All of it follows from its schema, its id and rev, so
// that a row of another schema, or a value of another row, shows.
type thing struct {
	ID     int64
	Owner  string
	Rev    int64
	N      int64
	Word   string
	Mood   string
	Amount float64
	Data   []byte
	Tags   []string
	At     time.Time
}

const thingColumns = `id, owner, rev, n, word, mood, amount, data, tags, at`

var (
	thingWords = []string{"alpha", "beta", "gamma", "delta"}
	thingMoods = []string{"sad", "glad", "mad"}
	thingEpoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
)

func newThing(owner string, id, rev int64) thing {
	return thing{
		ID: id, Owner: owner, Rev: rev, N: id*1_000_000 + rev, Word: thingWords[rev%4], Mood: thingMoods[rev%3],
		Amount: float64(rev) / 4, Data: fmt.Appendf(nil, "%s/%d/%d", owner, id, rev),
		Tags: []string{owner, strconv.FormatInt(id, 10), strconv.FormatInt(rev, 10)}, At: thingEpoch.Add(time.Duration(rev) * time.Second),
	}
}

func (a thing) equal(b thing) bool {
	return a.ID == b.ID && a.Owner == b.Owner && a.Rev == b.Rev && a.N == b.N && a.Word == b.Word && a.Mood == b.Mood &&
		a.Amount == b.Amount && bytes.Equal(a.Data, b.Data) && slices.Equal(a.Tags, b.Tags) && a.At.Equal(b.At)
}

// thingOf reads a row of SELECT *, whatever types it has today.
func thingOf(m map[string]any) (g thing, err error) {
	var a, b, c, at bool
	number := func(v any) int64 {
		n, convErr := strconv.ParseInt(fmt.Sprint(v), 10, 64)
		err = errors.Join(err, convErr)
		return n
	}
	g.ID, g.Rev, g.N = number(m["id"]), number(m["rev"]), number(m["n"])
	g.Owner, a = m["owner"].(string)
	g.Word, b = m["word"].(string)
	g.Mood, c = m["mood"].(string)
	g.Data, _ = m["data"].([]byte)
	g.At, at = m["at"].(time.Time)
	tags, _ := m["tags"].([]any)
	for _, tag := range tags {
		g.Tags = append(g.Tags, fmt.Sprint(tag))
	}
	switch v := m["amount"].(type) {
	case float64:
		g.Amount = v
	case pgtype.Numeric:
		f, convErr := v.Float64Value()
		g.Amount, err = f.Float64, errors.Join(err, convErr)
	}
	if !a || !b || !c || !at {
		err = errors.Join(err, fmt.Errorf("row %v", m))
	}
	return g, err
}
