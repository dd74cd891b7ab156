package sqltemplate

// scanNumber returns the end of the number at i. PostgreSQL refuses a number that a letter follows; here the number
// ends and a word begins, as in servers before version 15, which puts the ends of all other tokens in the same places.
func scanNumber(src string, i int) int {
	if end, ok := scanRadix(src, i); ok {
		return end
	}
	end := scanDigits(src, i, decimal)
	// In 1..10 the number is 1, as a loop of PL/pgSQL needs it.
	if at(src, end) == '.' && at(src, end+1) != '.' {
		end = scanDigits(src, end+1, decimal)
	}
	return scanExponent(src, end)
}

// scanRadix scans 0x1F, 0o17 or 0b11; an underscore may stand before each digit.
func scanRadix(src string, i int) (end int, ok bool) {
	if src[i] != '0' {
		return 0, false
	}
	var digit func(byte) bool
	switch at(src, i+1) {
	case 'x', 'X':
		digit = func(c byte) bool { return decimal(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }
	case 'o', 'O':
		digit = func(c byte) bool { return c >= '0' && c <= '7' }
	case 'b', 'B':
		digit = func(c byte) bool { return c == '0' || c == '1' }
	default:
		return 0, false
	}
	first := i + 2
	if at(src, first) == '_' {
		first++
	}
	end = scanDigits(src, first, digit)
	return end, end > first
}

// scanDigits scans digits with single underscores between them.
func scanDigits(src string, i int, digit func(byte) bool) int {
	for start := i; ; i++ {
		if digit(at(src, i)) || i > start && at(src, i) == '_' && digit(at(src, i+1)) {
			continue
		}
		return i
	}
}

func decimal(c byte) bool { return is(c, isDigit) }

// scanExponent scans e3 or E-3 after a number that ends at i, if it is there.
func scanExponent(src string, i int) int {
	if c := at(src, i); c != 'e' && c != 'E' {
		return i
	}
	first := i + 1
	if c := at(src, first); c == '+' || c == '-' {
		first++
	}
	if end := scanDigits(src, first, decimal); end > first {
		return end
	}
	return i
}
