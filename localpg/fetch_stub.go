package localpg

import (
	"context"
	"log/slog"
)

func fetchDefault(ctx context.Context, l *slog.Logger, m *NotFoundError) (string, error) {
	return "", m
}
