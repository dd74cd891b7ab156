package projectfile

import (
	"strconv"

	"github.com/pelletier/go-toml/v2/unstable"
)

// findPlaces returns where each key and each element of an array is written. The
// text has been decoded before, so it is well-formed. order has the tables' keys
// as they come.
func findPlaces(text []byte) (places map[string]unstable.Position, order [][]string) {
	w := walk{places: make(map[string]unstable.Position)}
	w.parser.Reset(text)
	var table []string
	for w.parser.NextExpression() {
		switch e := w.parser.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = w.key(nil, e.Key())
		case unstable.KeyValue:
			w.value(w.key(table, e.Key()), e.Value())
		}
	}
	return w.places, w.order
}

type walk struct {
	parser unstable.Parser
	places map[string]unstable.Position
	order  [][]string
}

// key notes each part of a key under a table, and returns the whole.
func (w *walk) key(table []string, parts unstable.Iterator) []string {
	key := append([]string{}, table...)
	for parts.Next() {
		key = append(key, string(parts.Node().Data))
		w.note(key, parts.Node())
	}
	return key
}

func (w *walk) note(key []string, n *unstable.Node) {
	if _, known := w.places[join(key)]; known {
		return
	}
	w.places[join(key)] = w.parser.Shape(n.Raw).Start
	w.order = append(w.order, append([]string{}, key...))
}

func (w *walk) value(key []string, n *unstable.Node) {
	switch n.Kind {
	case unstable.InlineTable:
		for parts := n.Children(); parts.Next(); {
			w.value(w.key(key, parts.Node().Key()), parts.Node().Value())
		}
	case unstable.Array:
		i := 0
		for parts := n.Children(); parts.Next(); i++ {
			if kind := parts.Node().Kind; kind == unstable.String {
				w.note(append(key, strconv.Itoa(i)), parts.Node())
			}
		}
	}
}
