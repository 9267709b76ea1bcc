module function

go 1.24

require github.com/taubyte/go-sdk v0.3.9
