//go:build unix

package doctor_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/doctor"
)

// A server that is reached at an address of this machine's network has sessions
// from another machine, as far as it can tell.
func TestItFindsSessionsOfOthersWithoutTLS(t *testing.T) {
	t.Parallel()
	address := networkAddress(t)
	cert, key := selfSigned(t)
	url := copyServer(t, shared(t), map[string]string{
		"pg_hba.conf": "local all all trust\nhost all all all trust\n", "server.crt": cert, "server.key": key,
	}, map[string]string{"listen_addresses": address, "ssl": "on"})
	o := doctor.Options{Only: []string{"tls-off"}}
	remote := func(options string) string {
		return fmt.Sprintf("host=%s port=5432 user=postgres dbname=postgres %s", address, options)
	}
	connect(t, remote("sslmode=require application_name=safe"))
	if r := look(t, url("postgres"), o); len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
	connect(t, remote("sslmode=disable application_name=careless"))
	connect(t, remote("sslmode=disable application_name=careless"))
	f := one(t, look(t, url("postgres"), o), "tls-off", "careless from "+address, doctor.Warning)
	if want := "2 sessions as postgres without TLS from another machine"; f.What != want {
		t.Errorf("%s, want %s", f.What, want)
	}
	execute(t, url("postgres"), f.Fix.SQL...)
	// The doctor's own connection to there.
	one(t, look(t, remote("sslmode=disable"), o), "tls-off", "the connection", doctor.Warning)
	if found := find(look(t, remote("sslmode=require"), o), "tls-off", "the connection"); len(found) > 0 {
		t.Errorf("%+v", found)
	}
}

// networkAddress is one of this machine that is not its own.
func networkAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if ip := a.(*net.IPNet).IP; ip.To4() != nil && ip.IsGlobalUnicast() {
			return ip.String()
		}
	}
	t.Skip("this machine has no address but its own")
	return ""
}

func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}
