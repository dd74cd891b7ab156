package pgdbm

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// expandBatch returns a batch to send in place of b, which stays as it is: pgx
// writes into the queries that it sends, and a caller may send b again through
// another handle.
func (h *handle) expandBatch(b *pgx.Batch) (*pgx.Batch, error) {
	copied := *b
	queries := make([]pgx.QueuedQuery, len(b.QueuedQueries))
	copied.QueuedQueries = make([]*pgx.QueuedQuery, len(b.QueuedQueries))
	for i, q := range b.QueuedQueries {
		text, err := h.expand(q.SQL)
		if err != nil {
			return nil, err
		}
		queries[i] = *q
		queries[i].SQL = text
		copied.QueuedQueries[i] = &queries[i]
	}
	return &copied, nil
}

func (h *handle) tracedBatch(ctx context.Context, b *pgx.Batch) func(error) {
	return h.traced(ctx, "batch of "+strconv.Itoa(b.Len()))
}

// batchResults gives its connection back when it is closed, unless the batch
// began a transaction, which then holds the connection.
type batchResults struct {
	pgx.BatchResults
	lease *lease
	tx    *Tx
	done  func(error)
}

func (br *batchResults) Close() (err error) {
	defer func() { // a callback of the caller's may panic
		if l := br.lease; l != nil {
			br.lease = nil
			l.release()
		}
		if done := br.done; done != nil {
			br.done = nil
			done(err)
		}
	}()
	return br.BatchResults.Close()
}

func (br *batchResults) Tx() pgx.Tx {
	if br.tx == nil {
		return br.BatchResults.Tx()
	}
	return br.tx
}
