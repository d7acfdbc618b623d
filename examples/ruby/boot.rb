# Runs before the user's program and decides which that is: the one built into
# the component (PROGRAM, set by build.mjs), else `-e TEXT`, else a file.
begin
  name, text =
    if defined?(PROGRAM) then PROGRAM
    elsif ARGV.first == "-e" then ARGV.shift && ["-e", ARGV.shift || raise(ArgumentError, "-e needs a program")]
    elsif ARGV.first then [ARGV.first, File.read(ARGV.shift)]
    else raise ArgumentError, "usage: ruby FILE [ARGUMENT]... or ruby -e TEXT [ARGUMENT]..."
    end
  $PROGRAM_NAME = name
  status = 0
  eval(text, TOPLEVEL_BINDING, name)
rescue SystemExit => exit
  status = exit.status
rescue Exception => error
  $stderr.write(error.full_message(highlight: false))
  status = 1
end
# Neither the launcher's return nor `exit!` flushes, so the flush is explicit.
$stdout.flush
$stderr.flush
exit!(status) unless status.zero?
