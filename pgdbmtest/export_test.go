package pgdbmtest

import "time"

func init() { keepServerFor = time.Second } // tests fail on purpose
