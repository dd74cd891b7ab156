package sqlcsample

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

var ErrBatchAlreadyClosed = errors.New("batch already closed")

const renameAuthors = `-- name: RenameAuthors :batchexec
UPDATE /*{{tables.authors}}*/ authors SET name = $2
WHERE id = $1
`

type RenameAuthorsBatchResults struct {
	br     pgx.BatchResults
	tot    int
	closed bool
}

type RenameAuthorsParams struct {
	ID   int64
	Name string
}

func (q *Queries) RenameAuthors(ctx context.Context, arg []RenameAuthorsParams) *RenameAuthorsBatchResults {
	batch := &pgx.Batch{}
	for _, a := range arg {
		vals := []interface{}{
			a.ID,
			a.Name,
		}
		batch.Queue(renameAuthors, vals...)
	}
	br := q.db.SendBatch(ctx, batch)
	return &RenameAuthorsBatchResults{br, len(arg), false}
}

func (b *RenameAuthorsBatchResults) Exec(f func(int, error)) {
	defer b.br.Close()
	for t := 0; t < b.tot; t++ {
		if b.closed {
			if f != nil {
				f(t, ErrBatchAlreadyClosed)
			}
			continue
		}
		_, err := b.br.Exec()
		if f != nil {
			f(t, err)
		}
	}
}

func (b *RenameAuthorsBatchResults) Close() error {
	b.closed = true
	return b.br.Close()
}
