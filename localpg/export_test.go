package localpg

// FindIn is Find with other standard places.
var FindIn = find

// InstallHintFor is the hint for a system and the content of its os-release.
var InstallHintFor = installHintFor
