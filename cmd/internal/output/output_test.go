package output

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRowsAlign(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, Rows(&b, []string{"ID", "ZONE", "DISK"}, [][]string{
		{"c1"}, {"node-1", "", "12 MiB"}, {"n2", "rack", "1"}, {"evil\nn3", "x", ""},
	}))
	require.Equal(t, `ID          ZONE  DISK
c1
node-1            12 MiB
n2          rack  1
"evil\nn3"  x
`, b.String())
}

func TestBytes(t *testing.T) {
	object := map[string]any{}
	Bytes(object, "key", []byte("a/ü"))
	Bytes(object, "value", []byte{0xff, 0})
	text, err := json.Marshal(object)
	require.NoError(t, err)
	require.JSONEq(t, `{"key": "a/ü", "value_base64": "/wA="}`, string(text))
}

func TestCheck(t *testing.T) {
	require.NoError(t, Check(JSON, Table, JSON))
	require.ErrorContains(t, Check("xml", Table, JSON), "use table or json")
}
