package migrate

import (
	"context"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/bridge"
)

// FleetPlanResult is what [Fleet] would do.
type FleetPlanResult struct {
	Module   string
	Schemas  int // in the list and in the shard, each counted once
	UpToDate int
	Pending  []FleetPending          // in the order given
	Refused  []*pgdbm.MigrationError // why schemas would fail before anything is tried; one for each
	Warnings []FleetWarning
}

// FleetPending is a schema in which [Fleet] would apply files.
type FleetPending struct {
	Schema string
	Exists bool   // else it would be created
	Files  []File // in the order in which they would run
}

// FleetPlan returns what [Fleet] would do with the same arguments; of the
// options only Shard and Existing count. It writes nothing and takes no lock. The error
// is for what would keep Fleet from beginning.
func FleetPlan(ctx context.Context, pool *pgdbm.Pool, m pgdbm.Module, schemas []string, o *FleetOptions) (*FleetPlanResult, error) {
	r, f, err := o.prepare(pool, m, schemas)
	if err != nil {
		return nil, err
	}
	plan, err := r.PlanFleet(ctx, f)
	if err != nil {
		return nil, bridge.PublicError(err)
	}
	res := &FleetPlanResult{Module: m.Name, Schemas: plan.Schemas, UpToDate: plan.UpToDate,
		Refused: publicErrors(plan.Refused), Warnings: fleetWarnings(plan.Warnings)}
	for _, p := range plan.Pending {
		pending := FleetPending{Schema: p.Schema, Exists: p.Exists}
		for _, f := range p.Files {
			pending.Files = append(pending.Files, File{Version: f.Version, File: f.Name, OnlyRecorded: f.RecordOnly()})
		}
		res.Pending = append(res.Pending, pending)
	}
	return res, nil
}
