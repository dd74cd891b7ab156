package statement

import (
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// pure reports whether a text only reads, so that running it twice does no harm:
// it is a query, names no command that writes, and calls no function but those
// listed, since others may do anything. It may well be wrong about a query that
// does only read.
func pure(sql string) bool {
	lex := sqltemplate.NewLexer(sql)
	word := "" // of the token before, if it was one
	dot := false
	first := true
	for {
		tok, ok := lex.Next()
		if !ok {
			return !first && lex.Err() == nil
		}
		text := sql[tok.Start:tok.End]
		switch tok.Kind {
		case sqltemplate.Space, sqltemplate.Comment:
			continue
		case sqltemplate.Ident:
			word = strings.ToLower(text)
			if first && !queries[word] || writes[word] {
				return false
			}
			if dot {
				word = "." + word // a function of somebody's own is on no list
			}
		case sqltemplate.QuotedIdent:
			word = text // nor is one by a quoted name
		default:
			if strings.HasPrefix(text, "(") && word != "" && !harmless[word] {
				return false
			}
			word = ""
		}
		dot = strings.HasSuffix(text, ".")
		first = false
	}
}

func words(s string) map[string]bool {
	m := make(map[string]bool)
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}

var (
	queries = words(`select with values table`)

	// writes are words that no mere query holds, but as a name perhaps.
	writes = words(`insert update delete merge into call do execute`)

	// harmless may stand before a parenthesis: keywords, and functions that only
	// compute or read.
	harmless = words(`select with values table as in any all some exists not and or on using where having when then else case
		from join lateral union except intersect by over partition filter within group order limit offset fetch materialized distinct is
		between like ilike similar to array row rows range groups sets cube rollup cast extract coalesce nullif greatest least
		count sum min max avg stddev variance array_agg string_agg json_agg jsonb_agg json_object_agg jsonb_object_agg bool_and bool_or every
		row_number rank dense_rank percent_rank ntile lag lead first_value last_value nth_value percentile_cont percentile_disc mode
		now clock_timestamp date_trunc date_part age to_char to_date to_timestamp make_date make_interval make_timestamp make_timestamptz
		abs ceil ceiling floor round trunc mod power sqrt sign exp ln width_bucket
		lower upper initcap length char_length octet_length substring substr position left right lpad rpad trim btrim ltrim rtrim overlay
		replace split_part concat concat_ws format md5 encode decode regexp_replace regexp_match starts_with reverse repeat strpos chr ascii
		unnest generate_series array_length cardinality array_position array_append array_cat array_remove array_to_string string_to_array
		to_json to_jsonb json_build_object jsonb_build_object json_build_array jsonb_build_array jsonb_array_elements jsonb_array_elements_text
		jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_path_query jsonb_set jsonb_typeof row_to_json
		to_tsvector to_tsquery plainto_tsquery websearch_to_tsquery ts_rank
		varchar char character numeric decimal timestamp timestamptz time interval bit float int bigint`)
)
