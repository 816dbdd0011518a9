# Runs one command and leaves behind, in the folder $1, who runs it and how it ended.
dir=$1
shift
if [ -r "/proc/$$/stat" ]; then
    read -r born < "/proc/$$/stat"
    read -r boot < /proc/sys/kernel/random/boot_id
else
    born=$(TZ=UTC LC_ALL=C ps -o lstart= -p $$)
    boot=-
fi
printf '%s\n' "$$" "$born" "$boot" > "$dir/started.part" && mv "$dir/started.part" "$dir/started" || exit 1
# Whoever makes this folder first decides whether the run begins: this script, or somebody who has given it up.
mkdir "$dir/claim" 2> /dev/null || exit 1
# A signal to the group is the command's to obey; how it ended is still written down.
trap : HUP INT TERM
"$@" < /dev/null > "$dir/log" 2>&1
code=$?
printf '%s\n' "$code" > "$dir/exit.part" && mv "$dir/exit.part" "$dir/exit"
