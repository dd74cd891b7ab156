package localpg

// FindIn is Find with other standard places and no cache.
var FindIn = func(o *Options, standard []string) (string, error) { return find(o, standard, "") }

// FindInCache is Find with no standard places and another cache.
var FindInCache = func(cache string) (string, error) { return find(nil, nil, cache) }

// InstallHintFor is the hint for a system and the content of its os-release.
var InstallHintFor = installHintFor
