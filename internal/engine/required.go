package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Required returns the schemas of modules that others require: for each the only one that it is recorded in. aliases
// says, for an error, where the caller's user names another one.
func (r *Runner) Required(ctx context.Context, modules []string, aliases string) (map[string]string, error) {
	recorded, err := r.Schemas(ctx, modules)
	if err != nil {
		return nil, err
	}
	schemas := make(map[string]string, len(modules))
	for _, m := range modules {
		if len(recorded[m]) != 1 {
			return nil, requiredError(m, recorded[m], aliases)
		}
		schemas[m] = recorded[m][0]
	}
	return schemas, nil
}

// mostNamed is how many schemas an error names.
const mostNamed = 5

// requiredError says why the schema of a required module is not known.
func requiredError(module string, recorded []string, aliases string) error {
	if len(recorded) == 0 {
		return fmt.Errorf("required module %s is recorded in no schema of this database; attach it first, or name its schema in %s", module, aliases)
	}
	named := slices.Clone(recorded[:min(mostNamed, len(recorded))])
	if more := len(recorded) - len(named); more > 0 {
		named = append(named, fmt.Sprintf("%d more", more))
	}
	return fmt.Errorf("required module %s is recorded in %s; name the one that is meant in %s", module, strings.Join(named, ", "), aliases)
}
